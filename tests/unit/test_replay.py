"""Records: written, read, cut off, changed; `glet replay` over them."""

import json
from pathlib import Path

import msgspec
import pytest

from glet.cli.main import main
from glet.config.cluster import BackendConfig, ClusterConfig, ControlConfig, GpuletConfig
from glet.config.resource import profile_folder
from glet.control.make import decided, make_loop
from glet.control.record import Header, line_of, profile_used, read_record
from glet.control.round import Round
from glet.errors import ConfigError
from glet.types.observation import DeviceObservation, ModelObservation, Observation
from glet.types.plan import Plan

PROFILE = str(profile_folder("synthetic-gpu"))
BACKENDS = tuple(BackendConfig(device=number, profile=PROFILE) for number in range(2))
CLUSTER = ClusterConfig(partition="profiled", backend=BACKENDS)


def observed(now_s: float, rate_rps: float, plan: Plan) -> Observation:
    return Observation(
        now_s=now_s,
        span_s=1.0,
        models=tuple(
            ModelObservation(
                model=name,
                slo_ms=100.0,
                max_batch=16,
                offered_rps=rate_rps,
                mean_rps=rate_rps,
                peak_rps=rate_rps,
            )
            for name in ("resnet50", "lenet1")
        ),
        devices=tuple(
            DeviceObservation(
                device=number, name=f"d{number}", type="gpu", kind="profiled", alive=True
            )
            for number in range(2)
        ),
        plan=plan,
    )


def recorded() -> tuple[Header, list[Round]]:
    made = make_loop(CLUSTER)
    rounds = []
    for second in range(12):
        rate_rps = 200.0 if 4 <= second < 8 else 40.0
        done = made.loop.on_observation(observed(float(second), rate_rps, made.loop.plan))
        assert done is not None
        rounds.append(done)
    assert sum(done.plan is not None for done in rounds) >= 2
    return made.header, rounds


@pytest.fixture
def record(tmp_path: Path) -> Path:
    header, rounds = recorded()
    path = tmp_path / "rounds.jsonl"
    path.write_bytes(b"".join(line_of(line) for line in (header, *rounds)))
    return path


def test_a_record_reads_back_as_it_was(record: Path) -> None:
    header, rounds = recorded()
    (run,) = read_record(record)
    assert run.header == header
    assert run.rounds == tuple(rounds)
    assert header.control.mode == "follow"
    assert header.profiles[0] == profile_used(Path(PROFILE))


def test_a_line_that_was_cut_off_is_left_out_and_a_wrong_one_is_not(record: Path) -> None:
    text = record.read_text()
    record.write_text(text[:-40])
    assert len(read_record(record)[0].rounds) == 11
    lines = text.splitlines()
    record.write_text("\n".join([lines[0], lines[1][:-40], *lines[2:]]))
    with pytest.raises(ConfigError, match=r"rounds.jsonl:2: is no line of a record"):
        read_record(record)
    record.write_text("\n".join(lines[1:]))
    with pytest.raises(ConfigError, match=r"rounds.jsonl:1: a record begins with a line of kind"):
        read_record(record)
    record.write_text("")
    with pytest.raises(ConfigError, match=r"is empty; a record begins with"):
        read_record(record)


def test_a_controller_that_starts_again_begins_a_run_of_its_own(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record.write_text(record.read_text() * 2)
    assert [len(run.rounds) for run in read_record(record)] == [12, 12]
    assert main(["replay", str(record)]) == 0
    assert capsys.readouterr().out == "24 rounds, the same decisions\n"


def test_a_replay_finds_what_is_different(record: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = record.read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    row = next(row for row in rows[2:] if row["plan"] is not None)
    row["plan"]["gpulets"][0]["share_pct"] += 1
    record.write_text("\n".join(json.dumps(row) for row in rows))
    assert main(["replay", str(record)]) == 1
    said = capsys.readouterr().out
    assert said.startswith(f"round {row['number']} at {row['now_s']:.3f} s: plan was")
    assert main(["replay", str(record), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"], told["rounds"]) == (1, 12)
    assert told["difference"] in said


def test_a_profile_that_is_not_the_same_any_more_is_said(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = record.read_text()
    sha256 = profile_used(Path(PROFILE)).sha256
    record.write_text(text.replace(sha256, "0" * 64))
    assert main(["replay", str(record)]) == 0
    assert f"profile {PROFILE} is not what it was" in capsys.readouterr().err


def test_other_settings_say_what_would_have_been(
    record: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--policy", "published", "--planner", "timeshare", "--set", "epoch_s=4"]
    assert main(["replay", str(record), *options, "--set", "triggers=false", "--json"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["recorded"]["rounds"] == 12
    assert run["replayed"]["rounds"] == 3
    assert [row["replayed"] is None for row in run["rounds"]] == [False, True, True, True] * 3
    assert main(["replay", str(record), "--policy", "static"]) == 0
    table = capsys.readouterr().out
    assert "recorded" in table
    assert "replayed" in table


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--planner", "gle"], "no planner is called 'gle'; did you mean 'glet'"),
        (["--policy", "auto"], "no policy is called 'auto'"),
        (["--set", "epoch"], "--set 'epoch'; give KEY=VALUE, as in epoch_s=20"),
        (["--set", "epoch=2"], "unknown key 'epoch'; did you mean 'epoch_s'"),
        (["--set", "epoch_s=-2"], "--set 'epoch_s=-2': Expected"),
        (["--set", "mode=auto"], "--set mode=auto"),
    ],
)
def test_wrong_options_are_one_line(
    record: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["replay", str(record), *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_auto_follows_where_all_is_known_and_no_plan_was_given() -> None:
    def mode(cluster: ClusterConfig) -> str:
        return decided(cluster).mode

    assert mode(CLUSTER) == "follow"
    assert mode(msgspec.structs.replace(CLUSTER, plan="ModelList.txt")) == "static"
    assert mode(msgspec.structs.replace(CLUSTER, gpulet=(GpuletConfig(share_pct=50),))) == "static"
    unknown = (*BACKENDS, BackendConfig(device=2))
    assert mode(msgspec.structs.replace(CLUSTER, backend=unknown)) == "static"
    given = ControlConfig(mode="published")
    assert mode(msgspec.structs.replace(CLUSTER, plan="x", control=given)) == "published"


def test_to_follow_without_any_profile_is_refused() -> None:
    cluster = ClusterConfig(control=ControlConfig(mode="follow"))
    with pytest.raises(ConfigError, match="control mode follow needs a profile of a device"):
        make_loop(cluster)
    assert make_loop(ClusterConfig()).header.control.mode == "static"
