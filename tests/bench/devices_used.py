"""Devices that glet uses against the proven lower bound, on random problems of 10 to 1,000 models.

Each model asks for a random part of what a whole device serves at batch 32: little (1 to 20 %),
some (2 to 60 %), or much (10 to 200 %). Every share from 5 to 100 %.
"""

import argparse
import multiprocessing
import statistics
from typing import NamedTuple

from plan_cases import SPARE, random_problem
from result import emit

from glet.plan.assess import assess
from glet.plan.bound import lower_bound
from glet.plan.make import make_planner

LOADS = {"little": (0.01, 0.2), "some": (0.02, 0.6), "much": (0.1, 2.0)}
SEEDS = {10: 20, 30: 12, 100: 6, 300: 3, 1000: 2}


class Case(NamedTuple):
    """A random problem."""

    load: str
    models: int
    seed: int


def counts(case: Case) -> tuple[int, int, int]:
    """Devices used by glet, by elastic (0: not everything placed), and the bound."""
    problem = random_problem(case.models, case.seed, LOADS[case.load], SPARE)
    used = []
    for name in ("glet", "elastic"):
        assessment = assess(problem, make_planner(name).plan(problem))
        assert not assessment.faults, assessment.faults[0]
        used.append(assessment.devices_used if assessment.feasible else 0)
    assert used[0], "glet left something out"
    return used[0], used[1], lower_bound(problem)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, nargs="+", default=list(SEEDS))
    args = parser.parse_args()
    ratios: list[float] = []
    with multiprocessing.Pool() as pool:
        for load in LOADS:
            for models in args.models:
                cases = [Case(load, models, seed) for seed in range(SEEDS.get(models, 3))]
                found = pool.map(counts, cases, chunksize=1)
                over = [glet / bound for glet, _, bound in found]
                ratios += over
                both = [(glet, elastic) for glet, elastic, _ in found if elastic]
                emit(
                    "devices_used",
                    {"load": load, "models": models},
                    problems=len(cases),
                    glet=statistics.mean(glet for glet, _, _ in found),
                    bound=statistics.mean(bound for _, _, bound in found),
                    over_bound=statistics.mean(over),
                    proven_best=sum(ratio == 1.0 for ratio in over),
                    elastic_over_glet=statistics.mean(e / g for g, e in both) if both else None,
                    elastic_feasible=len(both),
                )
    emit("devices_used", {"load": "all"}, problems=len(ratios), over_bound=statistics.mean(ratios))


if __name__ == "__main__":
    main()
