"""Allocations made whole, and freed of what does not help: the published steps after a solver."""

from collections.abc import Callable

import numpy as np

from glet.policy.fleet.knapsack import Floats, Ints

Value = Callable[[Ints], float]
"""Replicas -> the objective; -inf where they are not possible."""

# A change of the objective below this is none.
SAME = 1e-4


def repaired(wanted: Floats, current: Ints, units: Ints, quota: int, value: Value) -> Ints:
    """Real numbers of replicas as whole ones that fit the quota (Faro, EuroSys 2025, section 4).

    Rounded up; while that is too much, one replica goes where the objective loses least, of equals
    where the number is nearest to the current one. Stops where nothing more can go.
    """
    replicas = np.ceil(wanted - 1e-9).astype(np.int64)
    while int(replicas @ units) > quota:
        found: tuple[float, int, int] | None = None
        for job in range(len(replicas)):
            less = _moved(replicas, job, -1)
            after = round(value(less), 4)
            apart = abs(int(less[job]) - int(current[job]))
            if np.isfinite(after) and (found is None or (-after, apart) < found[:2]):
                found = (-after, apart, job)
        if found is None:
            break
        replicas[found[2]] -= 1
    return replicas


def shrunk(replicas: Ints, units: Ints, value: Value) -> Ints:
    """Replicas that do not help are taken away, and given to one job where all together do.

    As published, in the order of the jobs and by 0.0001 of the objective per replica; what was
    freed goes whole to the first job that it helps, and the rest is shrunk again.
    """
    found = replicas.copy()
    # Every round uses no more units than the one before; a job gains once per round at most.
    for _ in range(len(replicas) + 1):
        before = found
        found = _taken(found, value)
        freed = int((before - found) @ units)
        given = _given(found, freed, units, value) if freed else None
        if given is None:
            return found
        found = given
    return _taken(found, value)


def _taken(replicas: Ints, value: Value) -> Ints:
    found = replicas.copy()
    worth = value(found)
    for job in range(len(found)):
        while True:
            less = _moved(found, job, -1)
            after = value(less)
            if after < worth - SAME:
                break
            found, worth = less, after
    return found


def _given(replicas: Ints, freed: int, units: Ints, value: Value) -> Ints | None:
    worth = value(replicas)
    for job in range(len(replicas)):
        more = _moved(replicas, job, freed // int(units[job]))
        if value(more) > worth + SAME:
            return more
    return None


def _moved(replicas: Ints, job: int, by: int) -> Ints:
    found = replicas.copy()
    found[job] += by
    return found
