"""Which part of each model's rate goes to which type of device: by comparative advantage."""

from collections.abc import Mapping

from glet.plan.bound import Rows
from glet.plan.menu import Menu
from glet.plan.problem import Problem


def split(problem: Problem, made: Mapping[str, Menu]) -> dict[str, dict[str, float]]:
    """Rates in requests/s by type and model, so that the fewest devices are needed in all.

    A linear program over least areas: a model on a type that is twice as fast for everything else
    goes where it loses least. What does not fit the devices there are is spread as if there were
    more. Models that no type serves are in none.
    """
    counts = {name: sum(d.type == name for d in problem.devices) for name in made}
    rows = Rows()
    rates: dict[tuple[str, str], int] = {}
    for name, menu in made.items():
        devices = rows.variable(counts[name], cost=1.0)
        extra = rows.variable(None, cost=1000.0)
        work = [(devices, -1.0), (extra, -1.0)]
        for task in problem.tasks:
            if menu.serves(task.model):
                # As parts of the rate: rates of 1e-3 and 1e6 requests/s side by side scale badly.
                part = rates[name, task.model] = rows.variable(1.0)
                work.append((part, menu.area[task.model] * task.rate_rps))
        rows.at_most(work, 0.0)
    for task in problem.tasks:
        parts = [(rates[name, task.model], 1.0) for name in made if (name, task.model) in rates]
        if parts:
            rows.at_least(parts, 1.0)
    found = rows.solution()
    asked = {task.model: task.rate_rps for task in problem.tasks}
    shares: dict[str, dict[str, float]] = {name: {} for name in made}
    for model in sorted(asked):
        parts_of = {
            name: max(0.0, found[rates[name, model]]) for name in made if (name, model) in rates
        }
        total = sum(parts_of.values())
        for name, found_part in parts_of.items():
            if found_part > 1e-6 * total:
                shares[name][model] = asked[model] * found_part / total
    return shares
