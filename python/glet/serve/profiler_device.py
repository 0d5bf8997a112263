"""What is measured on: which shares a device can give, what a gpulet of it is, what memory is used.

Everything that differs between kinds of devices while profiling is here.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import msgspec

from glet.clock import Clock
from glet.config.resource import resource
from glet.errors import ConfigError
from glet.plan.layout import PlacedGpulet, arrange
from glet.profiles.latency_csv import LatencyProfile
from glet.serve.compile import Progress, compile_entries
from glet.serve.compile_cache import Cache, Compiled
from glet.serve.compile_target import compiles_on_gpu, gpu_target
from glet.serve.model_shelf import gpu_source, model_source
from glet.serve.repository import Entry, Repository
from glet.types.device import DeviceInfo
from glet.types.plan import GpuletPlan, problems
from glet.wire.messages import ModelSource


class Target(Protocol):
    """A device as the profiler sees it."""

    @property
    def info(self) -> DeviceInfo: ...

    def shares(self, models: Sequence[str]) -> tuple[int, ...]:
        """All shares that it can give and these models can run on, ascending."""
        ...

    def check(self, entries: Sequence[Entry], shares_pct: Sequence[int]) -> None:
        """Raises ConfigError or ProfileError for what can be seen to be impossible."""
        ...

    def prepare(
        self, entries: Sequence[Entry], report: Callable[[Progress], None]
    ) -> dict[str, str]:
        """Gets the models ready to be loaded; model -> why it cannot be."""
        ...

    def source(self, entry: Entry, share_pct: int) -> ModelSource:
        """How to load a model that is ready on a gpulet of that share."""
        ...

    def probe(self) -> ModelSource | None:
        """What draws as much memory bandwidth as its gpulet can; None: nothing to be drawn."""
        ...


class CpuTarget:
    """Gpulets of whole cores; programs compiled, or in Python, as they would be served."""

    def __init__(self, info: DeviceInfo, cache: Cache, clock: Clock) -> None:
        self.info = info
        self._cache = cache
        self._clock = clock
        self._compiled: dict[str, Compiled] = {}

    def shares(self, models: Sequence[str]) -> tuple[int, ...]:
        total = len(self.info.cores)
        return tuple(sorted({-(-100 * count // total) for count in range(1, total + 1)}))

    def check(self, entries: Sequence[Entry], shares_pct: Sequence[int]) -> None:
        for share in shares_pct:
            place(self.info, (share,))

    def prepare(
        self, entries: Sequence[Entry], report: Callable[[Progress], None]
    ) -> dict[str, str]:
        return _refused(compile_entries(entries, self._cache, self._clock, report), self._compiled)

    def source(self, entry: Entry, share_pct: int) -> ModelSource:
        compiled = self._compiled[entry.name]
        if compiled.runner == "compiled":
            return model_source(entry, "compiled", compiled.library)
        return model_source(entry, "python", str(entry.folder))

    def probe(self) -> ModelSource | None:
        entry = Repository(resource("probes")).entry("memory")
        return model_source(entry, "python", str(entry.folder))


class GpuTarget:
    """Gpulets of whole units of SMs; networks as they would be served."""

    def __init__(self, info: DeviceInfo, cache: Cache, clock: Clock) -> None:
        """`info`: of kind green."""
        self.info = info
        self._cache = cache
        self._clock = clock
        self._compiled: dict[str, Compiled] = {}

    def shares(self, models: Sequence[str]) -> tuple[int, ...]:
        return unit_shares(self.info.units, self.info.bad_units)

    def check(self, entries: Sequence[Entry], shares_pct: Sequence[int]) -> None:
        for share in shares_pct:
            place(self.info, (share,))

    def prepare(
        self, entries: Sequence[Entry], report: Callable[[Progress], None]
    ) -> dict[str, str]:
        wanted = [entry for entry in entries if compiles_on_gpu(entry)]
        if not wanted:
            return {}
        target = gpu_target(self.info)
        found = compile_entries(wanted, self._cache, self._clock, report, target)
        return _refused(found, self._compiled)

    def source(self, entry: Entry, share_pct: int) -> ModelSource:
        return gpu_source(entry, self._compiled.get(entry.name))

    def probe(self) -> ModelSource | None:
        entry = Repository(resource("probes")).entry("memory_gpu")
        return gpu_source(entry)


def _refused(found: Sequence[Compiled], kept: dict[str, Compiled]) -> dict[str, str]:
    """Keeps what was compiled; model -> why it cannot be served."""
    kept |= {compiled.model: compiled for compiled in found}
    return {
        compiled.model: f"model {compiled.model!r}: {compiled.reason}"
        for compiled in found
        if compiled.runner == "refused"
    }


def unit_shares(units: int, bad: Collection[int] = (), most: int = 8) -> tuple[int, ...]:
    """At most so many shares, ascending: 1, 2, 3, 4, 6, 8, 12 ... units, and the whole device.

    But none of `bad` counts of units.

    Small ones lie close together, because that is where latency bends. A share is the smallest
    percentage that gives so many units when rounded down.
    """
    wanted = {units}
    size = 1
    while size < units:
        wanted |= {size, size + size // 2}
        size *= 2
    ordered = sorted(count for count in wanted if 1 <= count <= units and count not in bad)
    while len(ordered) > most:
        # The closest pair by ratio says the least; the ends stay.
        ratios = [ordered[i + 1] / ordered[i] for i in range(len(ordered) - 2)]
        del ordered[ratios.index(min(ratios)) + 1]
    return tuple(-(-100 * count // units) for count in ordered)


class EmulatedTarget:
    """A device that takes as long as a profile says: measuring it finds that profile again."""

    def __init__(self, info: DeviceInfo, profile: LatencyProfile) -> None:
        self.info = info
        self._profile = profile

    def shares(self, models: Sequence[str]) -> tuple[int, ...]:
        known = [set(self._profile.shares(model)) for model in models]
        return tuple(sorted(set.intersection(*known))) if known else ()

    def check(self, entries: Sequence[Entry], shares_pct: Sequence[int]) -> None:
        for share in shares_pct:
            place(self.info, (share,))
            for entry in entries:
                self.source(entry, share)

    def prepare(
        self, entries: Sequence[Entry], report: Callable[[Progress], None]
    ) -> dict[str, str]:
        return {}

    def source(self, entry: Entry, share_pct: int) -> ModelSource:
        table = self._profile.table(entry.name, share_pct, entry.config.max_batch)
        source = model_source(entry, "profiled", "")
        return msgspec.structs.replace(source, compute_ms=tuple(table))

    def probe(self) -> ModelSource | None:
        return None


def place(device: DeviceInfo, shares_pct: Sequence[int]) -> tuple[PlacedGpulet, ...]:
    """Gpulets of these shares at the same time. Raises ConfigError when the device has no room."""
    wanted = tuple(
        GpuletPlan(device=0, share_pct=share, dedup=index) for index, share in enumerate(shares_pct)
    )
    found = problems(wanted)
    placed = arrange((), wanted, device, 0)
    found += [gpulet.error for gpulet in placed if gpulet.error]
    if found:
        raise ConfigError(found[0])
    return placed
