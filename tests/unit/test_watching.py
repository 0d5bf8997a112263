"""What Prometheus and Grafana are given to watch glet with asks for numbers that there are."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from metric_parts import snapshot

from glet.observe.metrics import render_metrics

DOCKER = Path(__file__).resolve().parents[2] / "docker"
DASHBOARD = DOCKER / "grafana" / "dashboards" / "glet.json"
RULES = DOCKER / "prometheus" / "rules.yml"
NAME = re.compile(r"\b(?:glet|process|nv)_[a-z0-9_]+\b")
RECORDED = re.compile(r"\b[a-z]+:[a-z0-9_]+:[a-z0-9_]+\b")


def promtool(*arguments: str) -> None:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool here (Debian package prometheus)")
    ran = subprocess.run([found, *arguments], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def told() -> set[str]:
    """Names of all samples."""
    page = render_metrics(snapshot(), triton=True)
    return {re.split(r"[{ ]", line)[0] for line in page.splitlines() if not line.startswith("#")}


def expressions(board: Any) -> Iterator[str]:
    """Every expression of a dashboard, wherever it stands."""
    if isinstance(board, dict):
        yield from (board[key] for key in ("expr", "query") if isinstance(board.get(key), str))
        for value in board.values():
            yield from expressions(value)
    elif isinstance(board, list):
        for value in board:
            yield from expressions(value)


def test_the_dashboard_asks_for_numbers_that_there_are() -> None:
    asked = [text for text in expressions(json.loads(DASHBOARD.read_text())) if "_" in text]
    names = {name for text in asked for name in NAME.findall(text)}
    assert len(names) > 20
    assert names - told() == set()


def test_the_rules_ask_for_numbers_that_there_are() -> None:
    lines = [line for line in RULES.read_text().splitlines() if "summary" not in line]
    recorded = {line.split()[-1] for line in lines if "record:" in line}
    bodies = [RECORDED.sub("", line) for line in lines]
    names = {name for line in bodies for name in NAME.findall(line)}
    assert len(names) > 10
    assert names - told() == set()
    used = {name for line in lines if "record:" not in line for name in RECORDED.findall(line)}
    assert used
    assert used - recorded == set()


def test_panels_have_places_of_their_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    cells = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["title"] for panel in panels)


def test_promtool_takes_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", str(RULES))
    for name in ("prometheus.yml", "compose.yml"):
        promtool("check", "config", str(DOCKER / "prometheus" / name))
