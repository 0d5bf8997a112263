"""What models cost: out of what a frontend answers, per gpulet and per device."""

import json
from typing import Any

import pytest

from glet.cli import models_cost
from glet.cli.main import main
from glet.cli.models_cost import costs_of, device_totals


def place(gpulet: int, state: str = "ready", **parts: object) -> dict[str, object]:
    known = {"backend": "gpu0", "device": 0, "gpulet": gpulet, "given_pct": 50.0}
    return {**known, "runner": "graph", "state": state, "note": "", **parts}


MODELS: dict[str, Any] = {
    "a": {
        "gpulets": [
            place(1, weights_mb=100.0, graphs_mb=20.0, staging_mb=1.0, memory_mb=121.0),
            place(2, weights_mb=100.0, graphs_mb=5.0, staging_mb=1.0, memory_mb=106.0),
            place(3, "loading"),
        ]
    },
    "b": {"gpulets": [place(1, memory_mb=7.0, runner="eager", note="it syncs")]},
}


def test_a_line_for_each_gpulet_that_has_a_model() -> None:
    costs = costs_of(MODELS)
    assert [(line["model"], line["gpulet"], line["memory_mb"]) for line in costs] == [
        ("a", 1, 121.0),
        ("a", 2, 106.0),
        ("b", 1, 7.0),
    ]


def test_weights_that_gpulets_share_count_once_for_the_device() -> None:
    assert device_totals(costs_of(MODELS)) == {"gpu0": pytest.approx(121.0 + 6.0 + 7.0)}


class FakeClient:
    def __init__(self, address: str, **keys: str | None) -> None:
        assert address == "tcp://127.0.0.1:7"
        assert keys == {"server_key": None, "client_key": None}

    def __enter__(self) -> "FakeClient":
        return self

    def __exit__(self, *args: object) -> None:
        return None

    def models(self) -> dict[str, object]:
        return MODELS


def test_help_says_where_it_asks(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["models", "cost", "--help"])
    assert ended.value.code == 0
    assert "(default: tcp://127.0.0.1:5555)" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_command_shows_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(models_cost, "Client", FakeClient)
    assert main(["models", "cost", "tcp://127.0.0.1:7", *arguments]) == 0
    out = capsys.readouterr().out
    if arguments:
        assert [line["runner"] for line in json.loads(out)["models"]] == ["graph", "graph", "eager"]
    else:
        assert "gpu0: 134.0 MB" in out
        assert "b on gpulet 1: it syncs" in out
