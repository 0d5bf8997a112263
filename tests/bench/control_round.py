"""CPU seconds of a control round, against how many models changed since the last.

Random models as in plan_time; arrivals are Poisson, and from round CHANGE_FROM on a part of the
models changes its rate by half or to its double, each round. `follow` with the planner `glet`.
Rounds are counted by what they did: nothing to plan, new rates on what serves, something placed
(`serves`), devices given up. Medians and maxima in ms of CPU time.
"""

import argparse
import statistics
import time
from collections import defaultdict

import numpy as np
from plan_time import sized
from result import emit
from rig import load_average

from glet.config.cluster import ControlConfig
from glet.control.loop import ControlLoop
from glet.types.observation import DeviceObservation, ModelObservation, Observation
from glet.types.plan import Plan

SIZES = ((30, 12), (300, 100), (1000, 256))
CHANGE_FROM = 12
CHANGES = (0.5, 2.0)
CONFIG = ControlConfig(mode="follow")
KINDS = {
    "nothing changed": "nothing",
    "fits": "nothing",
    "fits, at new rates": "new_rates",
    "serves what was unmet": "serves",
    "gives up devices": "gives_up",
}


def measure(models: int, devices: int, rounds: int, part: float) -> dict[str, float]:
    """Milliseconds by kind of round, and how many there were."""
    problem = sized(models, devices)
    kind = next(iter(problem.types.values()))
    loop = ControlLoop(CONFIG, dict.fromkeys(range(devices), kind))
    rng = np.random.default_rng(0)
    rates = {task.model: task.rate_rps for task in problem.tasks}
    means = dict(rates)
    recent: dict[str, list[float]] = {model: [] for model in rates}
    plan = Plan()
    took: dict[str, list[float]] = defaultdict(list)
    for number in range(rounds):
        if number >= CHANGE_FROM:
            for task in problem.tasks:
                if rng.random() < part:
                    rates[task.model] = task.rate_rps * float(rng.choice(CHANGES))
        seen = []
        for task in problem.tasks:
            name = task.model
            offered_rps = float(rng.poisson(rates[name]))
            means[name] += (offered_rps - means[name]) / CONFIG.mean_s
            recent[name] = [*recent[name][-4:], offered_rps]
            seen.append(
                ModelObservation(
                    model=name,
                    slo_ms=task.slo_ms,
                    offered_rps=offered_rps,
                    mean_rps=means[name],
                    peak_rps=max(recent[name]),
                )
            )
        observation = Observation(
            now_s=float(number),
            span_s=1.0,
            models=tuple(seen),
            devices=tuple(
                DeviceObservation(
                    device=device, name=str(device), type=kind.name, kind="profiled", alive=True
                )
                for device in range(devices)
            ),
            plan=plan,
        )
        start_s = time.process_time()
        done = loop.on_observation(observation)
        if done is None or done.errors:
            raise SystemExit(f"round {number}: {done and done.errors}")
        plan = loop.plan
        what = "first" if number == 0 else KINDS.get(done.why, "serves")
        took[what].append((time.process_time() - start_s) * 1e3)
    found: dict[str, float] = {}
    for what, times in sorted(took.items()):
        found |= {
            f"{what}_n": len(times),
            f"{what}_ms": statistics.median(times),
            f"{what}_most_ms": max(times),
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--part", type=float, default=0.002, help="of the models, each round")
    args = parser.parse_args()
    for models, devices in SIZES:
        emit(
            "control_round",
            {"models": models, "devices": devices, "rounds": args.rounds, "part": args.part},
            **measure(models, devices, args.rounds, args.part),
            load=load_average(),
        )


if __name__ == "__main__":
    main()
