"""The profile folder while it is measured: what is there already, and every save whole.

Beside the files of glet.profiles.files:
spread.csv    how well each median of latency.csv is known
runs.jsonl    a line per run of `glet profile`: command, date, machine, versions, load
"""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from glet.config.load import read_text
from glet.errors import ConfigError
from glet.profiles.csv_table import (
    BATCH,
    LATENCY_MS,
    SAMPLES,
    SHARE,
    Parse,
    check_once,
    name,
    read_table,
    render_table,
    whole,
    write_text,
)
from glet.profiles.files import (
    DEMAND,
    DEVICE,
    LATENCY,
    MODELS,
    PAIRS,
    DeviceFacts,
    MeasuredDemand,
    MeasuredLatency,
    Origin,
    ProfileData,
    parse_profile,
    read_data,
    render_profile,
    write_profile,
)
from glet.profiles.interference import Tenant
from glet.profiles.pairs import MeasuredPair
from glet.serve.profiler_beside import Compared
from glet.serve.profiler_pairs import PROBE, Pairing
from glet.serve.profiler_task import PairDone, PointDone

SPREAD, RUNS = "spread.csv", "runs.jsonl"
FILES = (DEVICE, LATENCY, MODELS, DEMAND, PAIRS, SPREAD, RUNS)
# All that a save is about to write. What ends in the middle of a save leaves it behind.
PENDING = ".pending.json"
SPREAD_COLUMNS: dict[str, Parse] = {
    "model": name,
    "share_pct": SHARE,
    "batch": BATCH,
    "p50_low_ms": LATENCY_MS,
    "p50_high_ms": LATENCY_MS,
    "outliers": SAMPLES,
    "steady": whole(0, 1),
}


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `spread.csv`: 95 % bounds of a median. Not `steady`: a limit came first."""

    model: str
    share_pct: int
    batch: int
    p50_low_ms: float
    p50_high_ms: float
    outliers: int
    steady: int


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `runs.jsonl`. Load averages are of one minute, at the start and at the last save.

    Of `unsteady_pairs` a median did not settle. `process_mb` is what a process needed before it
    loaded a model, `weights_mb` are by model.
    """

    command: str
    started: str
    saved: str = ""
    machine: str = ""
    versions: dict[str, str] = {}
    load_at_start: float = 0.0
    load_at_save: float = 0.0
    points: int = 0
    pairs: int = 0
    unsteady_pairs: int = 0
    process_mb: float = 0.0
    weights_mb: dict[str, float] = {}


class ProfileStore:
    """Everything measured on one device, in one folder. Nothing is on disk before save()."""

    def __init__(self, folder: Path, facts: DeviceFacts, run: RunRecord) -> None:
        """Takes over what is in the folder.

        Raises ConfigError when that is damaged, or of another device, or the folder cannot be
        written.
        """
        self.folder = folder
        self.run = run
        self._facts = facts
        self._latencies: dict[Tenant, MeasuredLatency] = {}
        self._spreads: dict[Tenant, Spread] = {}
        self._memory_mb: dict[str, float] = {}
        self._pairs: dict[Pairing, MeasuredPair] = {}
        self._demands: dict[tuple[str, int], MeasuredDemand] = {}
        self._counted: set[tuple[str, int]] = set()
        self._estimated: set[tuple[str, int]] = set()
        self._earlier: tuple[RunRecord, ...] = ()
        _make(folder)
        _finish_save(folder)
        if any((folder / file).exists() for file in FILES):
            self._take_over(read_data(folder))

    def has(self, point: tuple[Tenant, ...]) -> bool:
        """Whether it is measured: one tenant alone, beside the probe, or two beside each other."""
        first = point[0]
        if len(point) == 1:
            return first in self._latencies
        if point[1].model == PROBE:
            key = (first.model, first.batch)
            return key in self._demands and key not in self._estimated
        return point in self._pairs

    def latencies(self) -> list[tuple[MeasuredLatency, Spread | None]]:
        """All points by model, share and batch, with how well each is known."""
        return [(self._latencies[at], self._spreads.get(at)) for at in _ordered(self._latencies)]

    def pairs(self) -> tuple[MeasuredPair, ...]:
        """All pairs, in the order in which they were measured."""
        return tuple(self._pairs.values())

    def memory_mb(self) -> dict[str, float]:
        """By model; 0 where it is not known."""
        return dict(sorted(self._memory_mb.items()))

    def put(self, at: Tenant, done: PointDone) -> None:
        """A point; one that was there is replaced."""
        measured = done.measured
        self._latencies[at] = MeasuredLatency(
            model=at.model,
            share_pct=at.share_pct,
            batch=at.batch,
            p50_ms=measured.p50_ms,
            p99_ms=measured.p99_ms,
            samples=measured.samples,
        )
        self._spreads[at] = Spread(
            model=at.model,
            share_pct=at.share_pct,
            batch=at.batch,
            p50_low_ms=measured.low_ms,
            p50_high_ms=measured.high_ms,
            outliers=measured.outliers,
            steady=int(measured.steady),
        )
        self._take_dram(at, done)
        # A model needs what its largest batch on its largest share needs.
        self._memory_mb[at.model] = max(self._memory_mb.get(at.model, 0.0), done.memory_mb)
        self.run = msgspec.structs.replace(
            self.run,
            points=self.run.points + 1,
            process_mb=max(self.run.process_mb, done.process_mb),
            weights_mb=self.run.weights_mb | {at.model: done.weights_mb},
        )

    def put_pair(self, pairing: Pairing, done: PairDone) -> None:
        """A pair; one that was there is replaced."""
        (a, b), (one, two) = pairing, done.sides
        self._pairs[pairing] = MeasuredPair(
            model_a=a.model,
            share_a_pct=a.share_pct,
            batch_a=a.batch,
            model_b=b.model,
            share_b_pct=b.share_pct,
            batch_b=b.batch,
            alone_a_ms=one.alone.p50_ms,
            beside_a_ms=one.beside.p50_ms,
            alone_b_ms=two.alone.p50_ms,
            beside_b_ms=two.beside.p50_ms,
            samples=min(one.beside.samples, two.beside.samples),
        )
        self.run = msgspec.structs.replace(
            self.run,
            pairs=self.run.pairs + 1,
            unsteady_pairs=self.run.unsteady_pairs + (not done.steady),
        )

    def _take_dram(self, at: Tenant, done: PointDone) -> None:
        """What a device says of a batch on its largest share; an estimate only fills a gap."""
        shares = {point.share_pct for point in self._latencies.values() if point.model == at.model}
        key = (at.model, at.batch)
        if done.dram is None or at.share_pct < max(shares):
            return
        if done.counted:
            self._counted.add(key)
        elif key in self._demands and key not in self._estimated:
            return
        else:
            self._estimated.add(key)
        self._demands[key] = MeasuredDemand(model=at.model, batch=at.batch, l2=0.0, dram=done.dram)

    def put_demand(self, at: Tenant, probe: Compared) -> None:
        """What a model draws: the part of the probe's bandwidth that is gone beside it.

        On the whole device the same bytes are moved in less time (see draws_of()), so what was
        drawn on a share counts for more there. Nothing when the model was not measured alone, or
        the device counted itself.
        """
        if (at.model, at.batch) in self._counted:
            return
        shares = {point.share_pct for point in self._latencies.values() if point.model == at.model}
        whole = self._latencies.get(at._replace(share_pct=max(shares, default=0)))
        part = self._latencies.get(at)
        if whole is None or part is None:
            return
        self._estimated.discard((at.model, at.batch))
        lost = max(0.0, 1.0 - probe.alone.p50_ms / probe.beside.p50_ms)
        dram = min(1.0, lost * part.p50_ms / whole.p50_ms)
        self._demands[(at.model, at.batch)] = MeasuredDemand(
            model=at.model, batch=at.batch, l2=0.0, dram=dram
        )

    def demands(self) -> tuple[MeasuredDemand, ...]:
        """By model and batch."""
        return tuple(self._demands[key] for key in sorted(self._demands))

    def data(self) -> ProfileData:
        """What save() writes. There has to be a point."""
        origin = Origin(
            command=self.run.command,
            date=self.run.started,
            machine=self.run.machine,
            versions=self.run.versions,
            repeats=min(point.samples for point in self._latencies.values()),
        )
        return ProfileData(
            device=msgspec.structs.replace(self._facts, origin=origin),
            latencies=tuple(self._latencies[at] for at in _ordered(self._latencies)),
            memory_mb=self.memory_mb(),
            demands=self.demands(),
            pairs=self.pairs() or None,
        )

    def save(self, saved: str, load: float) -> None:
        """Writes everything, whole even if the process ends meanwhile. Nothing without a point."""
        if not self._latencies:
            return
        self.run = msgspec.structs.replace(self.run, saved=saved, load_at_save=load)
        data = self.data()
        runs = (*self._earlier, self.run)
        mine = {
            SPREAD: render_table(
                SPREAD_COLUMNS,
                (msgspec.structs.astuple(self._spreads[at]) for at in _ordered(self._spreads)),
            ),
            RUNS: "".join(f"{msgspec.json.encode(run).decode()}\n" for run in runs),
        }
        texts = render_profile(data) | mine
        parse_profile(texts, self.folder)
        write_text(self.folder / PENDING, msgspec.json.encode(texts).decode())
        write_profile(self.folder, data)
        for file, text in mine.items():
            write_text(self.folder / file, text)
        (self.folder / PENDING).unlink()

    def _take_over(self, data: ProfileData) -> None:
        self._check_device(data.device)
        for point in data.latencies:
            at = Tenant(model=point.model, batch=point.batch, share_pct=point.share_pct)
            self._latencies[at] = point
        for pair in data.pairs or ():
            self._pairs[_pairing(pair)] = pair
        self._memory_mb = dict(data.memory_mb)
        self._demands = {(use.model, use.batch): use for use in data.demands}
        self._facts = msgspec.structs.replace(self._facts, note=data.device.note)
        self._spreads = _read_spreads(self.folder / SPREAD, self._latencies)
        self._earlier = _read_runs(self.folder / RUNS)

    def _check_device(self, there: DeviceFacts) -> None:
        machine = there.origin.machine if there.origin is not None else ""
        for what, is_there, is_here in (
            ("type", there.type, self._facts.type),
            ("kind", there.kind, self._facts.kind),
            ("machine", machine, self.run.machine),
        ):
            if is_there != is_here:
                raise ConfigError(
                    f"{self.folder / DEVICE}: {what} is {is_there!r}, this one is {is_here!r}; "
                    "measurements do not mix: choose another --out, or remove the folder"
                )


def _ordered(places: Iterable[Tenant]) -> list[Tenant]:
    return sorted(places, key=lambda at: (at.model, at.share_pct, at.batch))


def _pairing(pair: MeasuredPair) -> Pairing:
    return (
        Tenant(model=pair.model_a, batch=pair.batch_a, share_pct=pair.share_a_pct),
        Tenant(model=pair.model_b, batch=pair.batch_b, share_pct=pair.share_b_pct),
    )


def _read_spreads(path: Path, known: Iterable[Tenant]) -> dict[Tenant, Spread]:
    """Those of known points; what somebody took out of latency.csv by hand is gone here too."""
    if not path.exists():
        return {}
    rows = read_table(path, SPREAD_COLUMNS)
    check_once(rows, ("model", "share_pct", "batch"))
    spreads = [Spread(**row.values) for row in rows]
    places = {Tenant(model=s.model, batch=s.batch, share_pct=s.share_pct): s for s in spreads}
    return {at: places[at] for at in known if at in places}


def _read_runs(path: Path) -> tuple[RunRecord, ...]:
    if not path.exists():
        return ()
    runs = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        try:
            runs.append(msgspec.json.decode(line, type=RunRecord))
        except msgspec.DecodeError as error:
            raise ConfigError(f"{path}:{number}: {error}; valid is a run as JSON") from error
    return tuple(runs)


def _make(folder: Path) -> None:
    """Sees to it that the folder is there and can be written, before hours of measuring."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written: {error.strerror}") from error
    probe = folder / ".probe"
    write_text(probe, "")
    probe.unlink()


def _finish_save(folder: Path) -> None:
    """Ends what a process that was killed had begun to write."""
    for file in (*FILES, PENDING):
        for left in folder.glob(f".{file}.[0-9]*"):
            left.unlink()
    path = folder / PENDING
    if not path.exists():
        return
    try:
        texts = msgspec.json.decode(read_text(path), type=dict[str, str])
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path}: {error}; remove it to go on with the other files") from error
    for file in FILES:
        if file in texts:
            write_text(folder / file, texts[file])
    path.unlink()
