"""The results log of the demo's client, read back and held against its report."""

import json
import re
from pathlib import Path
from typing import Any

LINE = re.compile(r"Respond Time: (\d+\.\d+) for Request ID (\d+)")
MODELS = ("resnet50", "vgg16")


def check_results(results: Path) -> dict[str, Any]:
    """The models' part of the report, once every request is in it and every answer in the log."""
    models: dict[str, Any] = json.loads((results / "report.json").read_text())["models"]
    assert sorted(models) == sorted(MODELS)
    for name, found in models.items():
        assert found["unanswered"] == 0
        text = (results / "overlapped" / f"{name}-1-client.csv").read_text()
        lines = [LINE.fullmatch(line) for line in text.splitlines()]
        assert all(lines)
        numbers = [int(line[2]) for line in lines if line]
        assert len(numbers) == found["ok"] > 0
        assert numbers == sorted(set(numbers))
        assert numbers[-1] < found["sent"]
        assert all(float(line[1]) > 0.0 for line in lines if line)
    return models
