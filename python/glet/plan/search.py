"""Better plans from a plan: devices emptied into others, parts taken out and put back."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from glet.plan.insert import insert
from glet.plan.space import Space

# Devices that are tried, one after the other, before emptying any is given up.
TRIES = 4
# Devices that are taken apart at once, at most.
RUINED = 3
MOST_ROUNDS = 1000

Score = tuple[float, ...]
Judge = Callable[[Sequence[Space], dict[str, float]], Score]
"""What a set of devices and what is left over is worth: less is better."""


def fits_made(spaces: Sequence[Space]) -> int:
    """How many fits all menus of these devices have made."""
    return sum(menu.fits for menu in {id(s.menu): s.menu for s in spaces}.values())


def empty(
    spaces: list[Space], left: dict[str, float], judge: Judge, stop: int
) -> tuple[list[Space], dict[str, float]]:
    """Frees devices, the least used first, as long as the judge likes it and fits are left."""
    failed: set[int] = set()
    best = judge(spaces, left)
    while len(failed) < TRIES and fits_made(spaces) < stop:
        used = [space for space in spaces if space.slots and space.number not in failed]
        if len(used) < 2:
            break
        victim = min(used, key=lambda space: (space.used_pct, space.number))
        tried = [space.copy() for space in spaces]
        gone = next(space for space in tried if space.number == victim.number)
        parts = parts_of([gone])
        gone.slots, gone.free_pct = (), 100
        hosts = [space for space in tried if space.slots]
        moved = all(
            fits_made(hosts) < stop and insert(model, rate_rps, hosts) == 0.0
            for model, rate_rps in parts
        )
        if moved and (score := judge(tried, left)) < best:
            spaces, best = tried, score
        else:
            failed.add(victim.number)
    return spaces, left


def ruin_and_recreate(
    spaces: list[Space],
    left: dict[str, float],
    judge: Judge,
    limits: tuple[int, float],
    rng: np.random.Generator,
) -> tuple[list[Space], dict[str, float]]:
    """Takes a few devices apart, puts their models back one at a time where they cost least.

    Schrimpf et al., J. Comput. Phys. 2000. A change is kept when it is no worse. `limits` are the
    count of fits at which it ends, and the first number of the score that is good enough.
    """
    stop, enough = limits
    best = judge(spaces, left)
    # Rounds that make no fits have to end too.
    for _ in range(MOST_ROUNDS):
        if best[0] <= enough or fits_made(spaces) >= stop:
            break
        used = [at for at, space in enumerate(spaces) if space.slots]
        if not used:
            break
        tried = [space.copy() for space in spaces]
        count = int(rng.integers(1, min(RUINED, len(used)) + 1))
        ruined = rng.choice(used, size=count, replace=False)
        rates = dict(left)
        for at in sorted(int(at) for at in ruined):
            for model, rate_rps in parts_of([tried[at]]):
                rates[model] = rates.get(model, 0.0) + rate_rps
            tried[at].slots, tried[at].free_pct = (), 100
        over = _recreate(tried, rates, rng)
        score = judge(tried, over)
        if score <= best:
            spaces, left, best = tried, over, score
    return spaces, left


def _recreate(
    spaces: Sequence[Space], rates: dict[str, float], rng: np.random.Generator
) -> dict[str, float]:
    """Inserts all rates, the largest about first; opens devices in a random order as needed."""
    noise = rng.uniform(0.5, 1.5, size=len(rates))
    order = sorted(
        (-_weight_pct(spaces, part) * float(noise[i]), *part)
        for i, part in enumerate(sorted(rates.items()))
    )
    opened = [space for space in spaces if space.slots]
    closed = [space for space in spaces if not space.slots]
    rng.shuffle(closed)
    return insert_all([(model, rate) for _, model, rate in order], opened, closed)


def insert_all(
    parts: Sequence[tuple[str, float]], opened: list[Space], closed: list[Space]
) -> dict[str, float]:
    """Inserts each in turn, opening a device when the opened ones cannot take it; the rest.

    Opened devices are appended to `opened`. A device that is of no use for a model stays closed.
    """
    over: dict[str, float] = {}
    for model, rate_rps in parts:
        rate_rps = insert(model, rate_rps, opened, split=not closed)
        for space in list(closed):
            if rate_rps <= 0.0:
                break
            rest_rps = insert(model, rate_rps, [*opened, space])
            if space.slots:
                opened.append(space)
                closed.remove(space)
            rate_rps = rest_rps
        if rate_rps > 0.0:
            over[model] = over.get(model, 0.0) + rate_rps
    return over


def parts_of(spaces: Iterable[Space]) -> list[tuple[str, float]]:
    """What devices carry, as (model, rate), the most work first."""
    parts = [
        (-rate_rps * space.menu.area[model], model, rate_rps)
        for space in spaces
        for slot in space.slots
        for model, rate_rps in slot.parts
    ]
    return [(model, rate_rps) for _, model, rate_rps in sorted(parts)]


def _weight_pct(spaces: Sequence[Space], part: tuple[str, float]) -> float:
    return min((s.menu.weight_pct(*part) for s in spaces if s.menu.serves(part[0])), default=0.0)
