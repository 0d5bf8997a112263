"""Readers of files that people write: whatever is in them, one line says what is wrong."""

from pathlib import Path

import fuzz_files
import pytest
from fuzz_dice import SeedDice

ROUNDS = 150
TARGETS = fuzz_files.targets()


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_is_taken_or_refused_in_one_line(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    for seed in range(ROUNDS):
        fuzz_files.run(target, tmp_path, fuzz_files.changed(SeedDice(seed), target.seed))


@pytest.mark.parametrize("name", sorted(TARGETS.keys() - {"key", "record", "model_list"}))
def test_what_the_damage_begins_with_is_valid(name: str, tmp_path: Path) -> None:
    assert fuzz_files.run(TARGETS[name], tmp_path, TARGETS[name].seed) == ""
