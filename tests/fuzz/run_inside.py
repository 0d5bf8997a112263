"""The long run: `python tests/fuzz/run_inside.py --seconds 600`; a seed that fails is printed."""

import argparse
import json
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))

import fuzz_curve
from fuzz_dice import SeedDice
from fuzz_inside import TALKS, check, inside
from fuzz_rounds import rounds

from glet.clock import Clock, SystemClock

TALKED = 20  # of one kind, before it is looked whether all still works
CRASHES = 20


def talk(targets: list[str], seed: int, until_s: float, clock: Clock, counts: Counter[str]) -> int:
    """In turn until then, on one cluster; the next seed. What fails names its seed."""
    with inside() as made:
        while clock.now_s() < until_s:
            target = targets[seed % len(targets)]
            try:
                for i in range(TALKED):
                    TALKS[target](made, SeedDice(seed * TALKED + i))
                check(made, target)
            except Exception:
                print(f"--target {target} --seed {seed}", flush=True)
                raise
            counts[target] += TALKED
            seed += 1
    return seed


def handshakes(seed: int, until_s: float, clock: Clock, counts: Counter[str]) -> None:
    """The same for CURVE."""
    with tempfile.TemporaryDirectory() as folder, fuzz_curve.locked(Path(folder)) as made:
        before = made.site.usage()
        while clock.now_s() < until_s:
            for i in range(TALKED):
                fuzz_curve.burst(made, SeedDice(seed * TALKED + i))
            made.check()
            counts["curve"] += TALKED
            seed += 1
        made.site.settled(before, 500.0)


def controllers(seed: int, until_s: float, clock: Clock, counts: Counter[str]) -> None:
    """The same for a controller in this process."""
    while clock.now_s() < until_s:
        try:
            with tempfile.TemporaryDirectory() as folder:
                rounds(Path(folder), SeedDice(seed))
        except Exception:
            print(f"--target rounds --seed {seed}", flush=True)
            raise
        counts["rounds"] += 1
        seed += 1


ALONE = {"curve": handshakes, "rounds": controllers}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0, help="of the first round")
    parser.add_argument(
        "--target", choices=[*TALKS, *ALONE], action="append", help="only this; again"
    )
    given = parser.parse_args()
    targets, clock = given.target or [*TALKS], SystemClock()
    until_s, seed, failed = clock.now_s() + given.seconds, given.seed, 0
    counts: Counter[str] = Counter()
    while clock.now_s() < until_s and failed < CRASHES:
        try:
            if targets[0] in ALONE:
                ALONE[targets[0]](seed, until_s, clock, counts)
            else:
                seed = talk(targets, seed, until_s, clock, counts)
        except Exception:  # noqa: BLE001
            failed += 1
            seed += sum(counts.values()) + 1
            traceback.print_exc()
    print(json.dumps({"said": counts, "failed": failed}), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
