"""What a backend learned of its models, and what gpulets should have of them."""

from collections.abc import Mapping, Sequence

from glet.config.cluster import ClusterConfig
from glet.errors import ProfileError
from glet.plan.assess import slowdowns, tenants_of
from glet.plan.layout import PlacedGpulet
from glet.plan.neighbours import joined
from glet.profiles.device_profile import DeviceProfile
from glet.profiles.interference import Interference, NoInterference
from glet.serve.hosted import HostedGpulet, Wanted
from glet.serve.lending import wanted_loans
from glet.serve.model_shelf import ModelShelf
from glet.types.device import DeviceInfo
from glet.types.plan import ModelShare
from glet.wire.loan_messages import Loan
from glet.wire.messages import (
    LatencyPoints,
    Limits,
    LoadModel,
    ModelSource,
    Step,
    StepDone,
    UpdateModel,
)

# A model that ended its executor this often while loading is not loaded again.
CRASHES = 3
# Nor one that hung its gpulet so often: each time all models of the executor are started again.
HANGS = 3


class ModelBook:
    """Numbers, latencies by share, memory and failures of the models of one device."""

    def __init__(
        self,
        cluster: ClusterConfig,
        device: DeviceInfo,
        shelf: ModelShelf,
        profile: DeviceProfile | None,
        interference: Interference,
    ) -> None:
        """`profile` knows memory before anything is loaded; None: it is learned."""
        self._cluster = cluster
        self._device = device
        self._shelf = shelf
        self._profile = profile
        self._interference = interference
        self._numbers: dict[str, int] = {}
        self._tables: dict[tuple[str, int, int], LatencyPoints] = {}
        self._memory_mb: dict[str, float] = {}
        self._crashes: dict[str, int] = {}
        self._hangs: dict[str, int] = {}

    def wanted(self, gpulet: PlacedGpulet, device: Sequence[PlacedGpulet]) -> list[Wanted]:
        """The loadable models of a gpulet among all of its device, the ones to load first in front.

        With the latencies that are known at its share: nothing is measured twice. Emulated ones
        take as much longer as their neighbours make them when these are always busy.
        """
        wanted = []
        others = () if isinstance(self._interference, NoInterference) else device
        neighbours = [
            tenants_of(other.models, other.share_pct)
            for other in others
            if other.number != gpulet.number and not other.error
        ]
        for share in gpulet.models:
            source, _ = self._source(gpulet, share)
            if source is None:
                continue
            limits = Limits(
                batch=min(share.batch, source.max_batch),
                time_share=share.time_share,
                capacity=self._cluster.queue_capacity,
                margin_ms=self._cluster.margin_ms,
                linger_ms=share.linger_ms,
                slowdown=slowdowns(
                    self._interference, tenants_of((share,), gpulet.share_pct), neighbours
                ),
                slo_ms=source.slo_ms,
            )
            number = self._numbers.setdefault(share.model, len(self._numbers))
            known = source.compute_ms or self._tables.get(_table_key(share.model, gpulet), ())
            wanted.append(Wanted(number, source, share, limits, known))
        return sorted(wanted, key=lambda model: self._crashes.get(model.source.name, 0))

    def loans(self, hosted: Mapping[int, HostedGpulet]) -> dict[int, tuple[Loan, ...]]:
        """The wanted loans of each gpulet of an executor; none unless the cluster has `steal`."""
        if not self._cluster.steal or self._device.kind == "mps":
            return {}
        return wanted_loans(hosted, self._on_both, self._device.bad_units)

    def _on_both(self, model: str, own: PlacedGpulet, lender: PlacedGpulet) -> LatencyPoints:
        """What a model takes on both shares; empty where nobody measured it."""
        both = joined(own, lender)
        try:
            source = self._shelf.source(model, both.share_pct)
        except ProfileError:
            return ()
        known = source.compute_ms if source is not None else ()
        return known or self._tables.get(_table_key(model, both), ())

    def why_not(self, gpulet: PlacedGpulet, share: ModelShare) -> str:
        """Why a model cannot be on a gpulet, in one line, or ''."""
        return self._source(gpulet, share)[1]

    def _source(self, gpulet: PlacedGpulet, share: ModelShare) -> tuple[ModelSource | None, str]:
        """How to load it there, or why it cannot be, in one line; neither while it is compiled."""
        if self._crashes.get(share.model, 0) >= CRASHES:
            return None, f"model {share.model!r} ended its executor {CRASHES} times while loading"
        if self._hangs.get(share.model, 0) >= HANGS:
            why = f"model {share.model!r} hung its gpulet {HANGS} times; it is not served any more"
            return None, why
        error = self._shelf.error(share.model)
        if error:
            return None, error
        try:
            return self._shelf.source(share.model, gpulet.share_pct), ""
        except ProfileError as profile_error:
            return None, str(profile_error)

    def awaits(self, device: Sequence[PlacedGpulet]) -> bool:
        """Whether a model of these gpulets can be loaded later, and not yet: it is compiled."""
        return any(
            self._source(gpulet, share) == (None, "")
            for gpulet in device
            if not gpulet.error
            for share in gpulet.models
        )

    def fits(
        self,
        executor: int,
        model: str,
        loaded: Mapping[int, Sequence[HostedGpulet]],
        device: Sequence[PlacedGpulet],
    ) -> bool:
        """Whether there is memory for a model beside what is `loaded`, by executor.

        Also when nothing of that is surplus: the device then has the last word. The gpulets of an
        executor share the weights of a model.
        """
        held = {(n, name) for n, gpulets in loaded.items() for g in gpulets for name in g.models}
        held_mb = sum(self._weights_mb(name) for _, name in held | {(executor, model)})
        if held_mb <= self._device.memory_mb or not self._device.memory_mb:
            return True
        keep = {(gpulet.number, share.model) for gpulet in device for share in gpulet.models}
        return all(
            (gpulet.placed.number, name) in keep
            for gpulets in loaded.values()
            for gpulet in gpulets
            for name in gpulet.models
        )

    def learn(self, step: Step, done: StepDone, gpulet: PlacedGpulet) -> None:
        """Takes in what a step on a gpulet measured."""
        if done.error:
            return
        if isinstance(step, LoadModel):
            self._memory_mb[step.source.name] = done.memory_mb
            self._crashes.pop(step.source.name, None)
        if isinstance(step, LoadModel | UpdateModel):
            names = {number: name for name, number in self._numbers.items()}
            self._tables[_table_key(names[step.model], gpulet)] = done.latency_ms

    def crashed(self, model: str) -> None:
        """An executor ended while it loaded the model."""
        self._crashes[model] = self._crashes.get(model, 0) + 1

    def hung(self, model: str) -> None:
        """A batch of the model did not end."""
        self._hangs[model] = self._hangs.get(model, 0) + 1

    def forgive(self, model: str, *, is_another: bool) -> None:
        """It may be loaded again, however often it failed; of another entry nothing is known."""
        self._crashes.pop(model, None)
        self._hangs.pop(model, None)
        if is_another:
            self._memory_mb.pop(model, None)
            self._tables = {key: t for key, t in self._tables.items() if key[0] != model}

    def _weights_mb(self, model: str) -> float:
        if self._profile is not None and model in self._profile.models():
            return self._profile.model(model).memory_mb
        return self._memory_mb.get(model, 0.0)


def _table_key(model: str, gpulet: PlacedGpulet) -> tuple[str, int, int]:
    # Cores or units decide how long a batch takes, whatever share they were given for.
    parts = gpulet.units.count if gpulet.units is not None else len(gpulet.cores)
    return (model, 0 if parts else gpulet.share_pct, parts)
