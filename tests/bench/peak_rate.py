"""The largest common rate at which a published workload still fits, per planner.

Scenarios and applications of the published study on 1 and 4 synthetic GPUs with the published
interference. Rates in requests/s of the scenario (of each model; scen1 doubles two of them); shares
from the published list, and glet from every share too.
"""

import argparse
import multiprocessing

from plan_cases import ANY_SHARE, PUBLISHED_SHARES, device_type, published
from result import emit

from glet.plan.make import make_planner
from glet.plan.peak import peak_factor
from glet.workload.scenarios import APPLICATIONS, SCENARIOS, scenario

OTHERS = ("timeshare", "edf", "selftuning", "elastic")
START_RPS = 100.0


def peaks(place: tuple[str, int]) -> dict[str, float]:
    """Requests/s by planner. glet is asked for the others' peaks too, so it is not below them."""
    name, devices = place
    workload = scenario(name, START_RPS)
    problem = published(workload, device_type(PUBLISHED_SHARES, disturbed=True), devices)
    factors = {other: peak_factor(make_planner(other), problem) for other in OTHERS}
    ours = make_planner("glet")
    factors["glet"] = peak_factor(ours, problem, factors.values())
    finer = published(workload, device_type(ANY_SHARE, disturbed=True), devices)
    factors["glet_any_share"] = peak_factor(ours, finer, [factors["glet"]])
    return {key: factor * START_RPS for key, factor in factors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 4])
    args = parser.parse_args()
    places = [(name, devices) for name in (*SCENARIOS, *APPLICATIONS) for devices in args.devices]
    with multiprocessing.Pool() as pool:
        for (name, devices), found in zip(places, pool.imap(peaks, places), strict=True):
            emit(
                "peak_rate",
                {"workload": name, "devices": devices},
                **found,
                glet_over_timeshare=found["glet"] / found["timeshare"]
                if found["timeshare"]
                else None,
                glet_over_elastic=found["glet"] / found["elastic"] if found["elastic"] else None,
            )


if __name__ == "__main__":
    main()
