"""The long run: `python tests/fuzz/run.py --seconds 600`; a seed that fails is printed."""

import argparse
import json
import sys
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))

from fuzz_dice import SeedDice
from fuzz_site import Site, site
from fuzz_targets import TARGETS

from glet.clock import SystemClock

BURSTS = 50  # of one kind, before it is looked whether all still works
CRASHES = 20


def attack(made: Site, target: str, seed: int) -> None:
    """One round: bursts, then everything has to work."""
    for i in range(BURSTS):
        TARGETS[target](made, SeedDice(seed * BURSTS + i))
    made.check()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument("--target", choices=[*TARGETS], action="append", help="only this; again")
    parser.add_argument("--growth-mb", type=float, default=500.0, help="of one process, at most")
    given = parser.parse_args()
    targets, clock = given.target or [*TARGETS], SystemClock()
    until_s, seed, failed = clock.now_s() + given.seconds, given.seed, 0
    counts: Counter[str] = Counter()
    while clock.now_s() < until_s and failed < CRASHES:
        with site() as made:
            made.check()
            for target in targets:  # what is loaded at first use is no growth
                attack(made, target, seed)
            before = made.usage()
            try:
                while clock.now_s() < until_s:
                    target = targets[seed % len(targets)]
                    seed += 1
                    sent = made.sent
                    attack(made, target, seed)
                    counts[target] += made.sent - sent
                after = made.settled(before, given.growth_mb)
            except Exception:  # noqa: BLE001
                failed += 1
                print(f"--target {target} --seed {seed}", flush=True)
                traceback.print_exc()
            else:
                memory = {pid: round(used.memory_mb) for pid, used in after.items()}
                print(json.dumps({"memory_mb": memory}), flush=True)
    print(json.dumps({"sent": counts, "rounds": seed - given.seed, "failed": failed}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
