"""How many of 1,023 rate combinations each planner can serve.

Every combination of 0, 100, 200 and 400 requests/s for the five models of the published study (Choi
et al., ATC 2022), but for all zero, on 4 and on 2 synthetic GPUs: with and without the published
interference; from the published list of shares, and glet from every share too. `possible` counts
those that the lower bound does not rule out. `devices` are used in all by the cases that every
planner of the row's group serves.
"""

import argparse
import multiprocessing
import time
from typing import Any, NamedTuple

from plan_cases import ANY_SHARE, PUBLISHED_SHARES, device_type, published
from result import emit

from glet.plan.assess import assess
from glet.plan.bound import lower_bound
from glet.plan.make import PLANNERS, make_planner
from glet.workload.scenarios import Workload, combinations

FIVE = ("lenet1", "googlenet", "resnet50", "ssd-mobilenetv1", "vgg16")
RATES_RPS = (0.0, 100.0, 200.0, 400.0)
ANY = "glet, any share"
LIMIT = "possible"


class Case(NamedTuple):
    """A workload, on how many devices, disturbed or not."""

    workload: Workload
    devices: int
    disturbed: bool


def outcome(case: Case) -> dict[str, tuple[bool, int, float]]:
    """By planner: whether all is served, on how many devices, found in how many seconds."""
    kind = device_type(PUBLISHED_SHARES, disturbed=case.disturbed)
    problem = published(case.workload, kind, case.devices)
    found = {}
    for name in PLANNERS:
        found[name] = judged(name, problem)
    fine = device_type(ANY_SHARE, disturbed=case.disturbed)
    finer = published(case.workload, fine, case.devices)
    found[ANY] = judged("glet", finer)
    found[LIMIT] = (lower_bound(finer) <= case.devices, 0, 0.0)
    return found


def judged(name: str, problem: Any) -> tuple[bool, int, float]:
    start_s = time.process_time()
    plan = make_planner(name).plan(problem)
    took_s = time.process_time() - start_s
    assessment = assess(problem, plan)
    assert not assessment.faults, assessment.faults
    return assessment.feasible, assessment.devices_used, took_s


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--every", type=int, default=1, help="only every n-th combination")
    args = parser.parse_args()
    workloads = combinations(RATES_RPS, FIVE)[:: args.every]
    for devices in (4, 2):
        for disturbed in (False, True):
            cases = [Case(workload, devices, disturbed) for workload in workloads]
            with multiprocessing.Pool() as pool:
                found = pool.map(outcome, cases, chunksize=4)
            served = [row for row in found if all(row[name][0] for name in (*PLANNERS, ANY))]
            for name in found[0]:
                emit(
                    "schedulable",
                    {"devices": devices, "interference": disturbed, "planner": name},
                    cases=len(cases),
                    served=sum(row[name][0] for row in found),
                    devices_where_all_serve=sum(row[name][1] for row in served) or None,
                    mean_ms=1e3 * sum(row[name][2] for row in found) / len(found) or None,
                    longest_ms=1e3 * max(row[name][2] for row in found) or None,
                )


if __name__ == "__main__":
    main()
