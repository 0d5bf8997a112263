"""What every autoscaler owes, over random observations; and the files of all of them."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glet.control.autoscalers import autoscaler_files, autoscaler_settings
from glet.errors import ConfigError
from glet.policy.fleet.guard import Guard, GuardSettings, problem
from glet.policy.fleet.make import default_settings, make_autoscaler, names
from glet.types.fleet import Autoscaler, BatchLatency, FleetJob, FleetObservation

FILES = sorted(autoscaler_files())
FAST = settings(
    max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
MODELS = ("a", "b", "c")
HISTORY = {"a": np.random.default_rng(0).poisson(300.0, (3, 40)).astype(float)}
BATCHES = tuple(
    BatchLatency(replicas=n, batch=b, latency_ms=4.0 + 30.0 * b / n)
    for n in range(1, 7)
    for b in (1, 2, 4)
)


@st.composite
def days(draw: st.DrawFn) -> list[tuple[int, list[tuple[float, float | None, int, float]]]]:
    """A quota, and what each model sees by tick: (requests/s, mean latency, outstanding, busy)."""
    seen = st.tuples(
        st.sampled_from((0.0, 0.4, 7.0, 30.0, 400.0)),
        st.sampled_from((None, 50.0, 720.0, 5000.0)),
        st.integers(0, 200),
        st.sampled_from((0.0, 0.3, 0.85, 1.0)),
    )
    tick = st.lists(seen, min_size=len(MODELS), max_size=len(MODELS))
    return [(draw(st.integers(4, 14)), one) for one in draw(st.lists(tick, min_size=8, max_size=8))]


def played(autoscaler: Autoscaler, day: Sequence[tuple[int, list]]) -> list[dict[str, int]]:
    """Targets by tick, each checked; what is asked for serves at once, the quota stays."""
    quota = day[0][0]
    target = dict.fromkeys(MODELS, 1)
    arrivals: dict[str, tuple[float, ...]] = dict.fromkeys(MODELS, ())
    found = []
    for number, (_, seen) in enumerate(day, start=1):
        now_s = number * autoscaler.interval_s
        jobs = []
        for model, (rate_rps, mean_ms, outstanding, busy) in zip(MODELS, seen, strict=True):
            whole = int(now_s // 60)
            arrivals[model] += (rate_rps * 60.0,) * (whole - len(arrivals[model]))
            jobs.append(
                FleetJob(
                    model=model,
                    slo_ms=720.0,
                    nominal_ms=180.0,
                    processing_ms=154.0,
                    units=2 if model == "b" else 1,
                    max_replicas=6,
                    replicas=target[model],
                    target=target[model],
                    arrivals=arrivals[model],
                    so_far=rate_rps * (now_s % 60.0),
                    recent_rps=rate_rps,
                    mean_ms=mean_ms,
                    outstanding=outstanding,
                    busy=busy,
                    violated=busy / 4.0,
                    batches=BATCHES if model == "c" else (),
                )
            )
        observation = FleetObservation(now_s=now_s, quota=quota, jobs=tuple(jobs))
        said = autoscaler.targets(observation)
        assert problem(observation, said) == ""
        assert not said.errors
        target |= said.replicas
        used = sum(job.units * target[job.model] for job in jobs)
        assert used <= quota
        assert all(0.0 <= part <= 1.0 for part in said.accept.values())
        found.append(dict(target))
    return found


def made(name: str) -> Autoscaler:
    return make_autoscaler(autoscaler_settings(name), HISTORY)


@pytest.mark.parametrize("name", FILES)
@given(day=days())
@FAST
def test_targets_fit_and_are_the_same_again(name: str, day: list) -> None:
    first = played(made(name), day)
    assert first == played(made(name), day)


@pytest.mark.parametrize("name", FILES)
@given(day=days())
@FAST
def test_a_guard_that_restricts_nothing_changes_nothing(name: str, day: list) -> None:
    guarded = Guard(made(name), GuardSettings())
    assert played(guarded, day) == played(made(name), day)


@pytest.mark.parametrize("name", FILES)
def test_nobody_there_is_nothing_to_do(name: str) -> None:
    assert made(name).targets(FleetObservation(now_s=60.0, quota=4)).replicas == {}


def test_every_autoscaler_has_a_file_and_defaults() -> None:
    assert {made(name).name for name in FILES} == set(names())
    for name in names():
        assert make_autoscaler(default_settings(name)).name == name


def test_wrong_names_and_values_are_located(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="did you mean 'faro'"):
        autoscaler_settings("fero")
    with pytest.raises(ConfigError, match="did you mean 'sizing'"):
        default_settings("sizin")
    path = tmp_path / "mine.toml"  # type: ignore[operator]
    for text, what in (
        ('policy = "faro"\n[solver]\nobjectiv = "sum"', "in solver, unknown key 'objectiv'"),
        ('policy = "glet"\ninterval_s = -1', "interval_s: expected float > 0"),
        ('policy = "mark"\n[forecast]\nquantile = 2', "forecast.quantile: expected float <= 1"),
        ("interval_s = 1", "missing required field policy"),
    ):
        path.write_text(text)
        with pytest.raises(ConfigError, match=what):
            autoscaler_settings(str(path))
