"""The profiler: when a point is measured enough, which pairs, and going on where it was."""

import contextlib
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.cli.profile_progress import duration, left_s
from glet.clock import ManualClock
from glet.errors import ConfigError, GletError, ModelError
from glet.profiles import csv_table, files, latency_csv
from glet.profiles.files import DeviceFacts, read_data
from glet.profiles.interference import Tenant
from glet.serve import profiler_store
from glet.serve.compile_cache import Cache
from glet.serve.profiler import Profiler, Step, Wish, check_wish
from glet.serve.profiler_beside import (
    LEAST_IN_PHASE,
    LEAST_ROUNDS,
    MOST_ROUNDS,
    Compared,
    measure_beside,
    run_together,
)
from glet.serve.profiler_device import CpuTarget, EmulatedTarget, place, unit_shares
from glet.serve.profiler_pairs import PROBE, choose_pairings, every_pairing, probings, splits
from glet.serve.profiler_rule import (
    PATIENCE,
    Measured,
    StopRule,
    is_steady,
    measure_point,
    median_bounds,
    summary,
)
from glet.serve.profiler_store import ProfileStore, RunRecord
from glet.serve.profiler_task import Done, PairDone, PointDone, Task
from glet.serve.repository import Entry, Repository
from glet.types.device import DeviceInfo

RULE = StopRule()
MS = 1e6


class Sampler:
    """Takes what it is given, sample after sample, and moves its clock by it."""

    def __init__(self, durations_ms: Iterator[float]) -> None:
        self.clock = ManualClock()
        self.runs = 0
        self._durations_ms = durations_ms

    def run(self, count: int) -> list[int]:
        took_ms = [next(self._durations_ms) for _ in range(count)]
        self.runs += count
        self.clock.sleep_s(sum(took_ms) / 1000.0)
        return [round(ms * MS) for ms in took_ms]

    def measure(self, rule: StopRule = RULE) -> Measured:
        return measure_point(self.run, rule, self.clock)


def noisy(middle_ms: float, sigma: float) -> Iterator[float]:
    rng = np.random.default_rng(0)
    while True:
        yield middle_ms * float(np.exp(sigma * rng.standard_normal()))


def drifting(start_ms: float, per_sample: float) -> Iterator[float]:
    index = 0
    while True:
        yield start_ms * (1.0 + per_sample * index)
        index += 1


def test_a_stable_point_ends_as_soon_as_it_may() -> None:
    sampler = Sampler(noisy(5.0, 0.01))
    found = sampler.measure()
    assert found.steady
    assert found.p50_ms == pytest.approx(5.0, rel=0.01)
    assert found.low_ms <= found.p50_ms <= found.high_ms <= found.p99_ms
    # Half a second, a chunk more, and the warm-up.
    assert sampler.clock.now_s() < RULE.least_s + RULE.warm_up_s + 0.2
    assert found.samples < sampler.runs


def test_noise_takes_longer_until_the_median_is_known() -> None:
    quiet, loud = Sampler(noisy(20.0, 0.01)), Sampler(noisy(20.0, 0.1))
    few, many = quiet.measure(), loud.measure()
    assert few.steady
    assert many.steady
    assert many.samples > 2 * few.samples
    assert max(many.high_ms - many.p50_ms, many.p50_ms - many.low_ms) <= 0.02 * many.p50_ms


def test_what_drifts_is_measured_to_the_limit_and_called_so() -> None:
    sampler = Sampler(drifting(20.0, 0.01))
    found = sampler.measure()
    assert not found.steady
    assert sampler.clock.now_s() >= RULE.limit_s


def test_a_narrow_interval_that_moves_is_not_steady() -> None:
    ramp = [round(1e6 * (1.0 + 0.1 * index / 2000)) for index in range(2000)]
    low, high = median_bounds(ramp)
    assert high - low < 0.01 * float(np.median(ramp))
    assert not is_steady(ramp, RULE)
    assert is_steady(list(np.random.default_rng(0).permutation(ramp)), RULE)


def test_rare_outliers_are_counted_and_move_nothing() -> None:
    def spiking() -> Iterator[float]:
        index = 0
        while True:
            yield 250.0 if index % 100 == 99 else 5.0
            index += 1

    found = Sampler(spiking()).measure(msgspec.structs.replace(RULE, least=300))
    assert found.steady
    assert found.p50_ms == 5.0
    assert found.outliers == found.samples // 100 >= 3
    assert found.p99_ms in (5.0, 250.0)


def test_two_ways_of_running_do_not_settle() -> None:
    def alternating() -> Iterator[float]:
        while True:
            yield from (10.0, 20.0)

    found = Sampler(alternating()).measure()
    assert not found.steady
    assert (found.low_ms, found.high_ms) == (10.0, 20.0)


def test_the_caps() -> None:
    capped = Sampler(noisy(1.0, 1.0)).measure(msgspec.structs.replace(RULE, most=50))
    assert capped.samples == 50
    assert not capped.steady
    slow = Sampler(drifting(3000.0, 0.2))
    found = slow.measure()
    assert found.samples == RULE.least
    # So slow that not even the fewest samples fit into the patience.
    slowest = Sampler(noisy(30_000.0, 0.0))
    found = slowest.measure()
    assert found.samples == -(-PATIENCE * RULE.limit_s // 30.0)
    assert not found.steady


def test_warm_up_is_not_counted() -> None:
    def cold() -> Iterator[float]:
        yield from (300.0, 40.0)
        while True:
            yield 4.0

    found = Sampler(cold()).measure()
    assert found.p99_ms == found.p50_ms == 4.0


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (8, 1), (9, 2), (10, 2), (20, 6), (100, 40)])
def test_ranks_are_those_of_the_tables(n: int, rank: int) -> None:
    assert median_bounds(range(1, n + 1)) == (rank, n + 1 - rank)


def test_the_interval_holds_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    for n in (15, 60, 250):
        held = 0
        for draws in np.exp(rng.standard_normal((1000, n))):
            low, high = median_bounds(draws.tolist())
            held += low <= 1.0 <= high
        assert held > 930


def test_p99_is_a_sample() -> None:
    samples = [index * 1_000_000 for index in range(1, 201)]
    assert summary(samples, RULE).p99_ms == 198.0
    assert summary(samples[:50], RULE).p99_ms == 50.0


# ---- two gpulets at once


class TickingClock:
    """Every look at it is a twentieth of a second later, from any thread."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._lock = threading.Lock()

    def now_s(self) -> float:
        with self._lock:
            self._now_s += 0.05
            return self._now_s

    def sleep_s(self, seconds: float) -> None:
        raise AssertionError


def by_thread(alone_ms: float, beside_ms: float, log: list[str], name: str) -> object:
    """A run that is slower in a thread beside another than in the test's own."""
    main = threading.get_ident()

    def run(count: int) -> list[int]:
        is_alone = threading.get_ident() == main
        log.append(name if is_alone else "both")
        return [round((alone_ms if is_alone else beside_ms) * MS)] * count

    return run


def test_alone_and_beside_take_turns() -> None:
    log: list[str] = []
    runs = [by_thread(10.0, 20.0, log, "a"), by_thread(40.0, 50.0, log, "b")]
    a, b = measure_beside(runs, RULE, TickingClock())  # type: ignore[arg-type]
    assert (a.alone.p50_ms, a.beside.p50_ms) == (10.0, 20.0)
    assert (b.alone.p50_ms, b.beside.p50_ms) == (40.0, 50.0)
    assert a.alone.steady
    assert b.beside.samples >= LEAST_ROUNDS * LEAST_IN_PHASE
    phases = [name for index, name in enumerate(log) if index == 0 or log[index - 1] != name]
    # The first two are the warm-up.
    assert phases == ["a", "b", *["a", "b", "both"] * LEAST_ROUNDS]


def test_rounds_end_when_nothing_settles() -> None:
    log: list[str] = []
    noise = np.random.default_rng(0)

    def restless(count: int) -> list[int]:
        log.append("run")
        return [int(ms) for ms in 1e6 * np.exp(noise.standard_normal(count))]

    rule = msgspec.structs.replace(RULE, limit_s=1e6)
    only = measure_beside([restless], rule, TickingClock())
    assert not only[0].alone.steady
    assert only[0].alone.samples >= MOST_ROUNDS * LEAST_IN_PHASE


def test_a_side_that_fails_ends_the_other() -> None:
    def well(count: int) -> list[int]:
        return [1] * count

    def ill(count: int) -> list[int]:
        raise ModelError("it threw")

    with pytest.raises(ModelError, match="it threw"):
        run_together([well, ill], [1e9, 1e9], TickingClock())


# ---- which shares, which pairs


@given(st.integers(1, 100))
def test_every_count_of_cores_has_its_share(cores: int) -> None:
    info = DeviceInfo(name="cpu", kind="cpu", type="cpu", cores=tuple(range(cores)))
    shares = CpuTarget(info, Cache(Path(), ManualClock()), ManualClock()).shares([])
    given_cores = [len(place(info, (share,))[0].cores) for share in shares]
    assert given_cores == list(range(1, cores + 1))


def test_splits() -> None:
    assert splits((50, 100)) == [(50, 50)]
    assert splits((100,)) == []
    assert splits((25, 50, 75, 100)) == [(25, 75), (50, 50)]
    assert splits((30, 60)) == [(30, 60)]
    many = splits(tuple(range(1, 101)))
    assert len(many) == 5
    assert (many[0], many[-1]) == ((1, 99), (50, 50))


BATCHES = {"a": (1, 2, 4, 8), "b": (1, 16), "c": (1,)}


def test_pairs_are_the_same_again_and_more_begin_with_fewer() -> None:
    few = choose_pairings(BATCHES, (25, 75), 7, 0)
    assert few == choose_pairings(dict(reversed(BATCHES.items())), (25, 75), 7, 0)
    assert choose_pairings(BATCHES, (25, 75), 12, 0)[:7] == few
    assert len(set(few)) == 7
    everything = choose_pairings(BATCHES, (25, 75), None, 0)
    assert set(choose_pairings(BATCHES, (25, 75), 10**6, 0)) == set(everything)
    assert everything == list(every_pairing(BATCHES, (25, 75)))


def test_pairs_cover_all_models_before_any_is_seen_twice_together() -> None:
    names = [f"m{index}" for index in range(6)]
    chosen = choose_pairings(dict.fromkeys(names, (1, 8, 32)), (50, 100), 21, 0)
    assert len({(one.model, two.model) for one, two in chosen}) == 21
    half = choose_pairings(dict.fromkeys(names, (1, 8, 32)), (50, 100), 12, 0)
    seen = [sum(name == side.model for pair in half for side in pair) for name in names]
    assert max(seen) - min(seen) <= 2


def test_no_pairing_is_there_in_both_orders() -> None:
    for shares in ((50, 100), (25, 50, 75)):
        found = list(every_pairing(BATCHES, shares))
        assert len({frozenset(pairing) for pairing in found}) == len(found)
        assert all(one.share_pct + two.share_pct <= 100 for one, two in found)


def test_probings() -> None:
    found = probings(BATCHES, (30, 60, 70))
    assert found[0] == (Tenant("a", 1, 70), Tenant(PROBE, 1, 30))
    assert len(found) == 3 + 2 + 1
    assert probings(BATCHES, (100,)) == []


# ---- a run over a folder

TOML = """slo_ms = 100.0
max_batch = 8
[[input]]
name = "x"
dtype = "float32"
shape = [4]
[[output]]
name = "y"
dtype = "float32"
shape = [4]
"""
PROFILE = "".join(f"{model},{share},8,9.0\n" for model in "abc" for share in (25, 75))
INFO = DeviceInfo(name="device0", kind="profiled", type="profiled", emulated=True)
FACTS = DeviceFacts(type="test", kind="profiled")
RUN = RunRecord(command="glet profile", started="2026-01-01T00:00:00+00:00", machine="emulated")
STEADY = Measured(
    samples=9, p50_ms=3.0, p99_ms=5.0, low_ms=2.9, high_ms=3.1, outliers=1, steady=True
)
POINT = PointDone(batch=1, measured=STEADY, memory_mb=10.0, weights_mb=4.0, process_mb=30.0)
WISH = Wish(batches=dict.fromkeys("abc", (1, 8)), shares_pct=(25, 75), pairs=4, rule=RULE)
TARGET = EmulatedTarget(INFO, latency_csv.parse(PROFILE, "latency.csv"))


class Killed(BaseException):
    """Like a signal: nobody catches it."""


class Bench:
    """Measures at once and writes down what; after `limit` points it fails once."""

    def __init__(self, limit: int = 10**9, failure: BaseException | None = None) -> None:
        self.points: list[tuple[str, ...]] = []
        self.closed = 0
        self._limit = limit
        self._failure = failure

    def __call__(self, task: Task) -> Generator[Done, None, None]:
        try:
            for batches in task.batches:
                if len(self.points) == self._limit and self._failure is not None:
                    failure, self._failure = self._failure, None
                    raise failure
                self.points.append(
                    tuple(
                        f"{seat.source.name} {seat.gpulet.share_pct} {batch}"
                        for seat, batch in zip(task.seats, batches, strict=True)
                    )
                )
                yield self._done(batches)
        finally:
            self.closed += 1

    def _done(self, batches: tuple[int, ...]) -> Done:
        if len(batches) == 1:
            return msgspec.structs.replace(POINT, batch=batches[0])
        slower = msgspec.structs.replace(STEADY, p50_ms=4.5)
        return PairDone(batches=batches, sides=(Compared(alone=STEADY, beside=slower),) * 2)


@pytest.fixture
def entries(tmp_path: Path) -> dict[str, Entry]:
    for name in "abc":
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "model.toml").write_text(TOML)
        (tmp_path / "models" / name / "model.py").write_text("def infer(x):\n    return x\n")
    return {entry.name: entry for entry in Repository(tmp_path / "models").entries()}


def opened(folder: Path, **changes: str) -> ProfileStore:
    return ProfileStore(folder, FACTS, msgspec.structs.replace(RUN, **changes))


def measured(
    folder: Path, entries: dict[str, Entry], bench: Bench, wish: Wish = WISH
) -> dict[str, str]:
    store = opened(folder)
    profiler = Profiler(TARGET, entries, wish, store, bench)
    return profiler.run({}, lambda step: None, lambda: store.save("2026-01-02", 0.5))


def test_everything_is_measured_once(tmp_path: Path, entries: dict[str, Entry]) -> None:
    bench = Bench()
    assert measured(tmp_path / "p", entries, bench) == {}
    data = read_data(tmp_path / "p")
    assert len(data.latencies) == 3 * 2 * 2
    assert data.pairs is not None
    assert len(data.pairs) == 4
    assert data.pairs[0].slowdown_a == 1.5
    assert data.memory_mb == {"a": 10.0, "b": 10.0, "c": 10.0}
    assert data.device.origin is not None
    assert data.device.origin.repeats == 9
    assert len(set(bench.points)) == len(bench.points) == 16
    assert bench.points[:3] == [("a 75 1",), ("a 75 8",), ("a 25 1",)]
    again = Bench()
    measured(tmp_path / "p", entries, again)
    assert again.points == []


@pytest.mark.parametrize("limit", range(16))
def test_a_run_that_was_stopped_goes_on(
    tmp_path: Path, entries: dict[str, Entry], limit: int
) -> None:
    stopped, rest = Bench(limit, KeyboardInterrupt()), Bench()
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "p", entries, stopped)
    if limit:
        assert len(read_data(tmp_path / "p").latencies) == min(limit, 12)
    measured(tmp_path / "p", entries, rest)
    assert len(stopped.points) == limit
    assert sorted(stopped.points + rest.points) == sorted(set(stopped.points + rest.points))
    whole, apart = tmp_path / "whole", read_data(tmp_path / "p")
    measured(whole, entries, Bench())
    assert apart.latencies == read_data(whole).latencies
    assert set(apart.pairs or ()) == set(read_data(whole).pairs or ())


def test_again_measures_all_anew(tmp_path: Path, entries: dict[str, Entry]) -> None:
    measured(tmp_path / "p", entries, Bench())
    again = Bench()
    measured(tmp_path / "p", entries, again, msgspec.structs.replace(WISH, again=True))
    assert len(again.points) == 16
    assert len(read_data(tmp_path / "p").latencies) == 12


def test_more_is_added(tmp_path: Path, entries: dict[str, Entry]) -> None:
    small = msgspec.structs.replace(WISH, batches={"a": (8,)}, pairs=0)
    measured(tmp_path / "p", entries, Bench(), small)
    rest = Bench()
    measured(tmp_path / "p", entries, rest)
    assert len(rest.points) == 14
    assert ("a 75 8",) not in rest.points


def test_a_model_that_fails_costs_only_its_own_points(
    tmp_path: Path, entries: dict[str, Entry]
) -> None:
    bench = Bench(1, ModelError("it threw"))
    failed = measured(tmp_path / "p", entries, bench)
    assert failed == {"a": "it threw"}
    assert {point.model for point in read_data(tmp_path / "p").latencies} == {"a", "b", "c"}
    pairs = read_data(tmp_path / "p").pairs or ()
    assert not any("a" in (pair.model_a, pair.model_b) for pair in pairs)
    # Every process was ended.
    assert bench.closed == 1 + 4 + len({(p.model_a, p.share_a_pct, p.model_b) for p in pairs})


@pytest.mark.parametrize("survives", range(12))
def test_a_kill_in_the_middle_of_a_save_loses_nothing_else(
    tmp_path: Path,
    entries: dict[str, Entry],
    monkeypatch: pytest.MonkeyPatch,
    survives: int,
) -> None:
    folder = tmp_path / "p"
    measured(folder, entries, Bench(), msgspec.structs.replace(WISH, batches={"a": (1,)}, pairs=0))
    store = opened(folder)
    store.put(Tenant("b", 1, 25), POINT)
    writes = 0

    def write_text(path: Path, text: str) -> None:
        nonlocal writes
        writes += 1
        if writes > survives:
            (folder / f".{path.name}.4711").write_text(text[: len(text) // 2])
            raise Killed
        csv_table.write_text(path, text)

    for module in (files, profiler_store):
        monkeypatch.setattr(module, "write_text", write_text)
    with contextlib.suppress(Killed):
        store.save("2026-01-02", 0.5)
    monkeypatch.undo()
    found = {at.model for at, _ in opened(folder).latencies()}
    # The first write is the note of all others: from then on the new point is there.
    assert found == ({"a", "b"} if survives >= 1 else {"a"})
    assert {point.model for point in read_data(folder).latencies} == found
    assert not list(folder.glob(".*"))


# ---- what a folder refuses


def test_measurements_of_two_devices_do_not_mix(tmp_path: Path, entries: dict[str, Entry]) -> None:
    measured(tmp_path / "p", entries, Bench())
    with pytest.raises(ConfigError, match=r"device.toml: machine is 'emulated', this one is 'x'"):
        opened(tmp_path / "p", machine="x")
    with pytest.raises(ConfigError, match=r"device.toml: type is 'test', this one is 'other'"):
        ProfileStore(tmp_path / "p", msgspec.structs.replace(FACTS, type="other"), RUN)


def test_runs_are_written_down(tmp_path: Path, entries: dict[str, Entry]) -> None:
    measured(tmp_path / "p", entries, Bench(3, ModelError("it threw")))
    measured(tmp_path / "p", entries, Bench())
    lines = (tmp_path / "p" / "runs.jsonl").read_text().splitlines()
    first, second = (msgspec.json.decode(line, type=RunRecord) for line in lines)
    assert (first.points + second.points, first.pairs + second.pairs) == (12 + 0, 4)
    assert first.command == "glet profile"
    assert second.weights_mb == {"a": 4.0}
    assert (first.process_mb, first.load_at_save) == (30.0, 0.5)


def test_what_a_model_draws(tmp_path: Path) -> None:
    store = opened(tmp_path / "p")
    at, whole = Tenant("a", 8, 50), Tenant("a", 8, 100)
    probe = Compared(alone=with_median(4.0), beside=with_median(5.0))
    # Without its own latencies nothing is known.
    store.put_demand(at, probe)
    assert store.demands() == ()
    store.put(at, msgspec.structs.replace(POINT, measured=with_median(6.0)))
    store.put(whole, msgspec.structs.replace(POINT, measured=with_median(4.0)))
    store.put_demand(at, probe)
    # A fifth of the probe's rate on half the device, in two thirds of the time on the whole.
    (use,) = store.demands()
    assert (use.model, use.batch) == ("a", 8)
    assert use.dram == pytest.approx(0.2 * 6.0 / 4.0)
    assert store.has((at, Tenant(PROBE, 1, 50)))
    store.put_demand(at, Compared(alone=with_median(4.0), beside=with_median(3.9)))
    assert store.demands()[0].dram == 0.0
    store.save("2026-01-02", 0.0)
    assert opened(tmp_path / "p").demands() == store.demands()


def test_what_a_device_counts_stands_and_an_estimate_fills_a_gap(tmp_path: Path) -> None:
    store = opened(tmp_path / "p")
    part, whole = Tenant("a", 8, 50), Tenant("a", 8, 100)
    probed = (part, Tenant(PROBE, 1, 50))
    probe = Compared(alone=with_median(4.0), beside=with_median(5.0))
    guess = msgspec.structs.replace(POINT, dram=0.6)
    store.put(whole, guess)
    store.put(part, msgspec.structs.replace(guess, dram=0.3))
    assert [use.dram for use in store.demands()] == [0.6]
    assert not store.has(probed)
    store.put_demand(part, probe)
    assert store.demands()[0].dram == pytest.approx(0.2)
    assert store.has(probed)
    store.put(whole, guess)
    assert store.demands()[0].dram == pytest.approx(0.2)
    store.put(whole, msgspec.structs.replace(guess, dram=0.25, counted=True))
    store.put_demand(part, probe)
    assert store.demands()[0].dram == 0.25


def test_a_wish_that_cannot_be(entries: dict[str, Entry]) -> None:
    for change, message in (
        ({"batches": {"a": (1, 9)}}, r"batch 9 of model 'a' is not in 1..8"),
        ({"shares_pct": (25, 80)}, r"no share of 80 %"),
        ({"shares_pct": (0,)}, r"a share is 1..100 percent"),
    ):
        with pytest.raises(GletError, match=message) as error:
            check_wish(TARGET, entries, msgspec.structs.replace(WISH, **change))
        assert error.value.exit_code == 2


def test_time_left_follows_the_pace() -> None:
    step = Step(tenants=(), done=None, spent_s=10.0, total_s=40.0)
    assert left_s(step, 20.0) == 60.0
    assert left_s(msgspec.structs.replace(step, spent_s=0.0), 5.0) == 40.0
    assert [duration(s) for s in (-1.0, 59.6, 600.0, 7200.0)] == ["0 s", "60 s", "10 min", "2.0 h"]


def with_median(p50_ms: float) -> Measured:
    return msgspec.structs.replace(STEADY, p50_ms=p50_ms, p99_ms=p50_ms, low_ms=1.0, high_ms=9.0)


@pytest.mark.parametrize(
    ("units", "counts"), [(1, [1]), (2, [1, 2]), (15, [1, 2, 3, 4, 6, 8, 12, 15])]
)
def test_shares_of_a_gpu_are_whole_units(units: int, counts: list[int]) -> None:
    assert [share * units // 100 for share in unit_shares(units)] == counts


@pytest.mark.parametrize("units", range(1, 40))
def test_at_most_eight_shares_from_one_unit_to_the_whole_gpu(units: int) -> None:
    shares = unit_shares(units)
    assert len(shares) <= 8
    assert (shares[0] * units // 100, shares[-1]) == (1, 100)
    assert list(shares) == sorted(set(shares))


def test_shares_of_a_gpu_without_those_that_cannot_be_trusted() -> None:
    assert [share * 15 // 100 for share in unit_shares(15, (1, 8))] == [2, 3, 4, 6, 12, 15]
