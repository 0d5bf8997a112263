"""The long run for readers of files: `python tests/fuzz/run_files.py --seconds 600`.

With `atheris` (pip install atheris) and `--target NAME` it looks for input that reaches new code.
"""

import argparse
import importlib.util
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

if GUIDED := importlib.util.find_spec("atheris") is not None and "--target" in sys.argv:
    import atheris

    with atheris.instrument_imports(include=["glet"]):
        import fuzz_files
else:
    import fuzz_files

from fuzz_dice import SeedDice

from glet.clock import SystemClock


def guided(target: fuzz_files.Target, seconds: float) -> None:
    """Never returns: libFuzzer ends the process, with what failed in crash-*."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        (corpus / "seed").write_bytes(target.seed)
        made = Path(folder) / "file"
        made.mkdir()
        arguments = [sys.argv[0], str(corpus), f"-max_total_time={seconds:.0f}", "-timeout=20"]
        atheris.Setup(arguments, lambda data: fuzz_files.run(target, made, bytes(data)))
        atheris.Fuzz()


def main() -> int:
    targets = fuzz_files.targets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=[*targets])
    given = parser.parse_args()
    if GUIDED:
        guided(targets[given.target], given.seconds)
    clock, seed, failed = SystemClock(), given.seed, 0
    until_s = clock.now_s() + given.seconds
    counts: Counter[str] = Counter()
    names = [given.target] if given.target else [*targets]
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            (Path(folder) / name).mkdir()
        while clock.now_s() < until_s and failed < 20:
            for name in names:
                data = fuzz_files.changed(SeedDice(seed), targets[name].seed)
                try:
                    said = fuzz_files.run(targets[name], Path(folder) / name, data)
                    counts[f"{name} {'refused' if said else 'taken'}"] += 1
                except Exception:  # noqa: BLE001
                    failed += 1
                    print(f"--target {name} --seed {seed}", flush=True)
                    traceback.print_exc()
            seed += 1
    print(dict(sorted(counts.items())), "failed", failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
