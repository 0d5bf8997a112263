"""LoadLoop and `glet load` against a frontend that the test plays."""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from glet.cli import infer as infer_command
from glet.cli import load as load_command
from glet.clock import SystemClock
from glet.errors import (
    ArgumentError,
    ConfigError,
    ModelNotFoundError,
    PeerLostError,
    UnavailableError,
)
from glet.native import core
from glet.observe.report import RECORD_FIELDS, Outcome
from glet.wire.zmq_path import libzmq_path

Fake = Callable[..., Any]
SAMPLES = [[("x", np.full(4, value, np.float32))] for value in (1.0, 2.0, 3.0)]
MS = 1_000_000


@pytest.fixture
def load_loop() -> Iterator[Callable[..., Any]]:
    made: list[Any] = []

    def make(address: str, **options: Any) -> Any:
        made.append(core.LoadLoop(libzmq_path(), address, **options))
        return made[-1]

    yield make
    for loop in made:
        loop.close()


def arrivals(count: int, gap_ns: int = MS) -> np.ndarray:
    return np.arange(count, dtype=np.int64) * gap_ns


def test_every_request_is_sent_and_recorded(fake_frontend: Fake, load_loop: Any) -> None:
    frontend = fake_frontend()
    loop = load_loop(frontend.address)
    loop.add_model("double", SAMPLES, arrivals_ns=arrivals(50), slo_ms=1e6)
    loop.add_model("none", SAMPLES, arrivals_ns=arrivals(20) + 1)
    loop.start_open()
    assert loop.wait(10.0)
    records = loop.records()
    assert records.dtype.names == RECORD_FIELDS
    double, none = (records[records["model"] == model] for model in (0, 1))
    assert len(double) == 50
    assert np.all(double["outcome"] == Outcome.OK)
    assert double["sample"].tolist() == [i % 3 for i in range(50)]
    assert double["intended_ns"].tolist() == arrivals(50).tolist()
    assert np.all(double["sent_ns"] >= double["intended_ns"])
    assert np.all(double["answered_ns"] >= double["sent_ns"])
    assert set(double["batch"]) == {3}
    assert set(double["queue_us"]) == {1500}
    assert set(double["execute_us"]) == {2000}
    assert np.all(none["outcome"] == Outcome.FAILED)
    assert np.all(np.diff(records["intended_ns"]) >= 0)
    progress = loop.progress()
    assert (progress[0]["sent"], progress[0]["ok"], progress[0]["good"]) == (50, 50, 50)
    assert progress[0]["p50_ms"] > 0.0
    assert progress[0]["mean_batch"] == 3.0
    assert (progress[1]["failed"], progress[1]["ok"]) == (20, 0)
    assert progress[1]["first_error"] == "model_not_found: no such model"


def test_a_silent_server_does_not_hold_back_the_next_request(
    fake_frontend: Fake, load_loop: Any
) -> None:
    frontend = fake_frontend(on_infer=lambda *_: None)
    loop = load_loop(frontend.address, drain_s=0.05)
    loop.add_model("double", SAMPLES, arrivals_ns=arrivals(30))
    loop.start_open()
    assert loop.wait(10.0)
    records = loop.records()
    assert len(records) == 30
    assert np.all(records["outcome"] == Outcome.UNANSWERED)
    assert np.all(records["answered_ns"] == -1)


def test_latency_counts_from_the_intended_time(fake_frontend: Fake, load_loop: Any) -> None:
    def hold_all(frontend: Any, *request: Any) -> None:
        frontend.held.append(request)
        if len(frontend.held) == 3:
            for each in frontend.held:
                frontend.compute(*each)

    loop = load_loop(fake_frontend(on_infer=hold_all).address)
    loop.add_model("double", SAMPLES, arrivals_ns=arrivals(3, 100 * MS), slo_ms=150.0)
    loop.start_open()
    assert loop.wait(10.0)
    records = loop.records()
    latency_ms = (records["answered_ns"] - records["intended_ns"]) / MS
    assert latency_ms[0] >= 200.0
    assert latency_ms[1] >= 100.0
    assert loop.progress()[0]["good"] <= 2


def test_answers_and_samples_can_be_chosen(fake_frontend: Fake, load_loop: Any) -> None:
    hot = [[("x", np.eye(4, dtype=np.float32)[i])] for i in range(4)]
    order = np.array([2, 0, 3, 3, 1], np.int32)
    loop = load_loop(fake_frontend().address, connections=2)
    loop.add_model("double", hot, arrivals_ns=arrivals(5), sample_order=order, read_answer=True)
    loop.start_open()
    assert loop.wait(10.0)
    assert loop.records()["sample"].tolist() == order.tolist()
    assert loop.records()["answer"].tolist() == order.tolist()


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("late", Outcome.LATE),
        ("full", Outcome.FULL),
        ("failed", Outcome.FAILED),
        ("unavailable", Outcome.UNAVAILABLE),
        ("invalid_input", Outcome.INVALID),
    ],
)
def test_refusals_are_outcomes(
    fake_frontend: Fake, load_loop: Any, code: str, outcome: Outcome
) -> None:
    def refuse(frontend: Any, client: bytes, header: dict[str, Any], _: list[bytes]) -> None:
        assert header["deadline_ms"] == 7.0
        frontend.error(client, header["id"], code, "no")

    loop = load_loop(fake_frontend(on_infer=refuse).address)
    loop.add_model("double", SAMPLES, arrivals_ns=arrivals(4), deadline_ms=7.0)
    loop.start_open()
    assert loop.wait(10.0)
    assert set(loop.records()["outcome"]) == {outcome}


def test_the_closed_loop_keeps_its_number_in_flight(fake_frontend: Fake, load_loop: Any) -> None:
    most = SimpleNamespace(held=0)

    def in_fours(frontend: Any, *request: Any) -> None:
        frontend.held.append(request)
        most.held = max(most.held, len(frontend.held))
        if len(frontend.held) == 4:
            while frontend.held:
                frontend.compute(*frontend.held.pop())

    loop = load_loop(fake_frontend(on_infer=in_fours).address)
    loop.add_model("double", SAMPLES)
    loop.start_closed(4, requests=100)
    assert loop.wait(20.0)
    assert len(loop.records()) == 100
    assert np.all(loop.records()["outcome"] == Outcome.OK)
    assert most.held == 4


def test_the_closed_loop_ends_by_time_and_by_stop(fake_frontend: Fake, load_loop: Any) -> None:
    address = fake_frontend().address
    timed = load_loop(address)
    timed.add_model("double", SAMPLES)
    timed.start_closed(2, duration_s=0.05)
    assert timed.wait(10.0)
    assert len(timed.records()) >= 2
    stopped = load_loop(address)
    stopped.add_model("double", SAMPLES)
    stopped.start_closed(2, duration_s=1000.0)
    while stopped.progress()[0]["ok"] < 10:
        assert not stopped.wait(0.001)
    stopped.stop()
    assert stopped.wait(10.0)
    assert np.all(stopped.records()["outcome"] == Outcome.OK)


def test_stop_ends_the_open_loop_early(fake_frontend: Fake, load_loop: Any) -> None:
    loop = load_loop(fake_frontend().address)
    loop.add_model("double", SAMPLES, arrivals_ns=np.array([0, 10**15]))
    loop.start_open()
    assert not loop.wait(0.01)
    with pytest.raises(ArgumentError, match="not over"):
        loop.records()
    while loop.progress()[0]["ok"] < 1:
        assert not loop.wait(0.001)
    loop.stop()
    assert loop.wait(10.0)
    assert len(loop.records()) == 1


def test_a_frontend_that_goes_away_makes_requests_unavailable(
    fake_frontend: Fake, load_loop: Any
) -> None:
    frontend = fake_frontend(on_infer=lambda *_: None)
    loop = load_loop(frontend.address)
    loop.add_model("double", SAMPLES, arrivals_ns=np.array([0, 1, 300 * MS]))
    loop.start_open()
    while frontend.heard.get(timeout=60)["op"] != "infer":
        pass
    frontend.close()
    assert loop.wait(10.0)
    assert set(loop.records()["outcome"]) == {Outcome.UNAVAILABLE}


def test_no_frontend_and_another_version_end_the_run(fake_frontend: Fake, load_loop: Any) -> None:
    nobody = load_loop("tcp://127.0.0.1:1", connect_s=0.05)
    nobody.start_open()
    with pytest.raises(PeerLostError, match=r"no connection to tcp://127\.0\.0\.1:1"):
        nobody.wait(10.0)
    other = load_loop(fake_frontend(hello={"op": "hello", "version": 2}).address, connect_s=0.2)
    other.start_open()
    with pytest.raises(PeerLostError, match="protocol version 2"):
        other.wait(10.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arrivals_ns": np.array([2, 1])}, "not sorted"),
        ({"arrivals_ns": np.array([-1, 1])}, "below 0"),
        ({"arrivals_ns": np.array([1]), "sample_order": np.array([3])}, "sample index 3"),
        ({"arrivals_ns": np.array([1]), "sample_order": np.array([-1])}, "sample index -1"),
        ({"arrivals_ns": np.array([1]), "sample_order": np.array([0, 0])}, "2 sample indices"),
    ],
)
def test_what_makes_no_sense_is_refused(load_loop: Any, options: Any, message: str) -> None:
    loop = load_loop("tcp://127.0.0.1:1")
    with pytest.raises(ArgumentError, match=message):
        loop.add_model("double", SAMPLES, **options)
    with pytest.raises(ArgumentError, match="no samples"):
        loop.add_model("double", [])


def command(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    load_command.add_parser(subparsers)
    infer_command.add_parser(subparsers)
    return parser.parse_args(arguments)


def run_load(*arguments: str) -> int:
    return load_command.load(
        command("load", *arguments), SystemClock(), Console(stderr=True, force_terminal=False)
    )


def test_the_command_reports_json_and_nothing_else(
    fake_frontend: Fake, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    csv = tmp_path / "requests.csv"
    code = run_load(
        fake_frontend().address, "--model", "double=200", "--model", "pair=100",
        "--seconds", "0.2", "--seed", "3", "--csv", str(csv), "--json",
    )  # fmt: skip
    found = json.loads(capsys.readouterr().out)
    assert code == 0
    assert list(found["models"]) == ["double", "pair"]
    assert (found["device"], found["emulated"]) == ("cpu", True)
    sent = sum(model["sent"] for model in found["models"].values())
    assert sent > 0
    for model in found["models"].values():
        assert model["sent"] == model["ok"]
        assert model["unanswered"] == 0
        assert model["mean_batch"] == 3.0
    assert len(csv.read_text().splitlines()) == sent + 1


def test_the_command_prints_a_table(
    fake_frontend: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    address = fake_frontend().address
    assert run_load(address, "--model", "double=100", "--seconds", "0.1") == 0
    out = capsys.readouterr().out
    assert "double" in out
    assert "0.1 s on cpu" in out


def test_a_trace_drives_the_command(
    fake_frontend: Fake, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("double,other\n1,0\n0,1\n")
    address = fake_frontend().address
    common = ["--arrivals", f"trace:{trace}", "--interval", "0.1", "--seconds", "0.2", "--json"]
    assert run_load(address, "--model", "double=100", *common) == 0
    assert json.loads(capsys.readouterr().out)["models"]["double"]["sent"] > 0
    with pytest.raises(ConfigError, match="no column 'pair'; it has double, other"):
        run_load(address, "--model", "pair=100", *common)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--model", "double"], ConfigError),
        (["--model", "double=x"], ConfigError),
        (["--model", "double=-1"], ConfigError),
        (["--model", "=5"], ConfigError),
        (["--model", "double=1", "--model", "double=2"], ConfigError),
        (["--model", "double=1", "--seconds", "0"], ConfigError),
        (["--model", "double=1", "--deadline-ms", "-3"], ConfigError),
        (["--model", "double=1", "--arrivals", "sometimes"], ConfigError),
        (["--model", "none=1"], ModelNotFoundError),
        (["--model", "early=1"], UnavailableError),
    ],
)
def test_wrong_options_are_one_line(
    fake_frontend: Fake, arguments: list[str], error: type[Exception]
) -> None:
    with pytest.raises(error) as raised:
        run_load(fake_frontend().address, *arguments)
    assert "\n" not in str(raised.value)


def test_infer_reads_and_writes_files(
    fake_frontend: Fake, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    address = fake_frontend().address
    x, a, out = tmp_path / "x.npy", tmp_path / "a.npy", tmp_path / "out.npz"
    np.save(x, np.arange(4, dtype=np.float32))
    np.save(a, np.array([2, 3]))
    one = command("infer", "double", "--input", str(x), "--address", address, "--json")
    assert one.run(one) == 0
    assert json.loads(capsys.readouterr().out)["outputs"]["output"]["data"] == [0, 2, 4, 6]
    named = [f"a={a}", f"b={a}"]
    two = command("infer", "pair", "--input", *named, "--address", address, "--output", str(out))
    assert two.run(two) == 0
    with np.load(out) as stored:
        assert stored["product"].tolist() == [4, 9]
    assert "batch 3" in capsys.readouterr().out
    wrong = command("infer", "pair", "--input", "a.npy", "b.npy", "--address", address)
    with pytest.raises(ConfigError, match="NAME=FILE"):
        wrong.run(wrong)
