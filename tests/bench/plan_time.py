"""Seconds to plan, against the number of models and devices, per planner.

Random problems as in devices_used; the first rows are of the nine published models on four
synthetic GPUs, at 400/s more than fits. Medians over rounds; planners take turns. `exhaustive` only
plans tiny problems.
"""

import argparse
import statistics
import time

from plan_cases import PUBLISHED_SHARES, device_type, published, random_problem
from result import emit
from rig import load_average

from glet.plan.make import make_planner
from glet.plan.problem import Device, Problem
from glet.workload.scenarios import SLO_MS, Wanted

NAMES = ("glet", "timeshare", "edf", "elastic", "selftuning")
NINE = ("lenet1", "googlenet", "resnet50", "ssd-mobilenetv1", "vgg16", "mnasnet1_0",
        "mobilenet_v2", "densenet161", "bert")  # fmt: skip
SIZES = ((30, 12), (100, 40), (300, 100), (1000, 256))


def nine(rate_rps: float) -> Problem:
    workload = tuple(Wanted(model, rate_rps, SLO_MS[model]) for model in NINE)
    return published(workload, device_type(PUBLISHED_SHARES, disturbed=True), 4)


def sized(models: int, devices: int) -> Problem:
    problem = random_problem(models, 0, (0.01, 0.4), 1.0)
    kind = problem.devices[0].type
    numbered = tuple(Device(number=number, type=kind) for number in range(devices))
    return Problem(tasks=problem.tasks, devices=numbered, types=problem.types, rules=problem.rules)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    cases = [(f"nine at {rate:g}/s", nine(rate)) for rate in (50.0, 100.0, 200.0, 400.0)]
    cases += [("random", sized(*size)) for size in SIZES]
    for workload, problem in cases:
        took: dict[str, list[float]] = {name: [] for name in NAMES}
        unmet: dict[str, int] = {}
        for _ in range(args.rounds):
            for name in NAMES:
                start_s = time.perf_counter()
                plan = make_planner(name).plan(problem)
                took[name].append(time.perf_counter() - start_s)
                unmet[name] = len(plan.unmet)
        emit(
            "plan_time",
            {
                "workload": workload,
                "models": len(problem.tasks),
                "devices": len(problem.devices),
                "rounds": args.rounds,
            },
            **{f"{name}_s": statistics.median(runs) for name, runs in took.items()},
            glet_unmet=unmet["glet"],
            elastic_unmet=unmet["elastic"],
            load=load_average(),
        )


if __name__ == "__main__":
    main()
