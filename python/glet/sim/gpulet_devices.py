"""Devices of a simulation: they make plans true, as backends do, and say what they serve."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from glet.errors import ProfileError
from glet.native import core
from glet.plan.assess import slowdowns, tenants_of
from glet.plan.layout import PlacedGpulet, arrange
from glet.plan.neighbours import joined, neighbours
from glet.plan.problem import DeviceType
from glet.sim.scenario import GpuletsConfig
from glet.types.device import DeviceInfo
from glet.types.plan import ModelShare, Plan, lingers
from glet.wire.counters import ModelCounters
from glet.wire.messages import BackendState, GpuletState, LoadedModel

NS_PER_MS = 1_000_000


class Devices:
    """The actuator of a simulation: a plan is true at once, make before break, no request lost.

    How long reorganising takes is in the control loop's `reorganise_s`, which gives plans out
    later. What waits at a gpulet that goes is routed again.
    """

    def __init__(
        self,
        world: Any,
        types: Mapping[int, DeviceType],
        config: GpuletsConfig,
        numbers: Mapping[str, int],
    ) -> None:
        self._world, self._types, self._config = world, types, config
        self._numbers = dict(numbers)
        self._placed: dict[int, tuple[PlacedGpulet, ...]] = {device: () for device in types}
        self._counters: dict[tuple[int, int], ModelCounters] = {}
        self._next = self._seq = 0
        self._held_since_s = 0.0
        self.plan = Plan()

    def apply(self, plan: Plan, now_s: float) -> None:
        """From now on this plan serves. Again does nothing."""
        self._account(now_s)
        before = self._tenants()
        for device in self._types:
            gpulets = plan.on_device(device)
            info = DeviceInfo(name=f"device{device}", kind="profiled", type="", emulated=True)
            self._placed[device] = arrange(self._placed[device], gpulets, info, self._next)
            for placed in self._placed[device]:
                self._next = max(self._next, placed.number + 1)
        self.plan = plan
        routes: dict[str, list[tuple[int, float]]] = defaultdict(list)
        for device, gpulets_placed in self._placed.items():
            for placed in gpulets_placed:
                for share in lingers(placed.models):
                    self._load(device, placed, share)
                    weight = share.rate_rps or self._capacity_rps(device, placed, share)
                    routes[share.model].append((placed.number, weight))
        for model, number in self._numbers.items():
            self._world.set_routes(number, routes[model])
        for gpulet, model in sorted(before - self._tenants()):
            self._world.unload(gpulet, self._numbers[model])
        if self._config.steal:
            for device, gpulets_placed in self._placed.items():
                self._set_loans(device, gpulets_placed)

    def states(self, at_s: float) -> tuple[BackendState, ...]:
        """What each device's backend would report."""
        self._seq += 1
        return tuple(
            BackendState(
                seq=self._seq,
                name=f"device{device}",
                incarnation="1",
                number=device,
                device=DeviceInfo(
                    name=f"device{device}",
                    kind="profiled",
                    type=self._types[device].name,
                    emulated=True,
                    memory_mb=int(self._types[device].profile.memory_mb),
                ),
                plan=self.plan.on_device(device),
                gpulets=tuple(self._gpulet(device, one) for one in placed),
                counters=tuple(
                    self._counted(at_s, one, share) for one in placed for share in one.models
                ),
            )
            for device, placed in self._placed.items()
        )

    def _gpulet(self, device: int, placed: PlacedGpulet) -> GpuletState:
        return GpuletState(
            gpulet=placed.number,
            executor=0,
            share_pct=placed.share_pct,
            given_pct=placed.given_pct,
            state="ready",
            models=tuple(
                LoadedModel(
                    name=share.model,
                    model=self._numbers[share.model],
                    batch=share.batch,
                    state="ready",
                    latency_ms=tuple(
                        enumerate(self._latency_ms(device, placed, share.model), start=1)
                    ),
                )
                for share in placed.models
            ),
        )

    def _counted(self, at_s: float, placed: PlacedGpulet, share: ModelShare) -> ModelCounters:
        number = self._numbers[share.model]
        key = placed.number, number
        before = self._counters.get(key) or ModelCounters(gpulet=placed.number, model=number)
        served, batches, busy_s, borrowed = self._world.take_tenant_window(*key)
        self._counters[key] = msgspec.structs.replace(
            before,
            ok=before.ok + served,
            items=before.items + served,
            batches=before.batches + batches,
            borrowed=before.borrowed + borrowed,
            busy_ms=before.busy_ms + 1000.0 * busy_s,
            waiting=self._world.waiting(*key),
            correction=self._world.correction(*key),
            at_s=at_s,
        )
        return self._counters[key]

    def _set_loans(self, device: int, placed: Sequence[PlacedGpulet]) -> None:
        by_number = {gpulet.number: gpulet for gpulet in placed}
        for number, lenders in neighbours(placed).items():
            if not by_number[number].models:
                continue
            loans = []
            for lender in lenders:
                # One without models is none in the simulator: nothing was loaded on it.
                if by_number[lender].models:
                    both = joined(by_number[number], by_number[lender])
                    loans.append((lender, self._tables(device, both)))
            self._world.set_loans(number, loans)

    def _tables(self, device: int, both: PlacedGpulet) -> list[tuple[int, Any]]:
        """Latencies of the models of a gpulet that has this share, where the profile has them."""
        tables = []
        for share in both.models:
            try:
                table_ms = self._latency_ms(device, both, share.model)
            except ProfileError:
                continue
            points = [(n, max(1, round(ms * NS_PER_MS))) for n, ms in enumerate(table_ms, 1)]
            tables.append((self._numbers[share.model], core.LatencyTable(points)))
        return tables

    def _load(self, device: int, placed: PlacedGpulet, share: ModelShare) -> None:
        table_ms = self._latency_ms(device, placed, share.model)
        points = [(batch, max(1, round(ms * NS_PER_MS))) for batch, ms in enumerate(table_ms, 1)]
        limits = core.QueueLimits(
            capacity=self._config.queue_capacity,
            max_batch=share.batch,
            margin_ns=round(self._config.margin_ms * NS_PER_MS),
            linger_ns=round(share.linger_ms * NS_PER_MS),
            slo_ns=round(self._config.models[share.model].slo_ms * NS_PER_MS),
        )
        table = core.LatencyTable(points)
        self._world.load(
            placed.number,
            self._numbers[share.model],
            core.ModelPlan(table, limits, share.time_share),
            table,
            self._slowdown(device, placed, share),
        )

    def _latency_ms(self, device: int, placed: PlacedGpulet, model: str) -> list[float]:
        profile = self._types[device].profile.model(model)
        return [float(ms) for ms in profile.tables((placed.share_pct,))[0]]

    def _capacity_rps(self, device: int, placed: PlacedGpulet, share: ModelShare) -> float:
        table_ms = self._latency_ms(device, placed, share.model)
        return 1000.0 * share.batch / table_ms[share.batch - 1] * share.time_share

    def _slowdown(self, device: int, placed: PlacedGpulet, share: ModelShare) -> float:
        """As emulated devices have it: with neighbours that are always busy."""
        neighbours = [
            tenants_of(other.models, other.share_pct)
            for other in self._placed[device]
            if other.number != placed.number
        ]
        victim = tenants_of((share,), placed.share_pct)
        return slowdowns(self._types[device].interference, victim, neighbours)

    def _tenants(self) -> set[tuple[int, str]]:
        return {
            (placed.number, share.model)
            for gpulets in self._placed.values()
            for placed in gpulets
            for share in placed.models
        }

    def _account(self, now_s: float) -> None:
        """Devices in use, shared out among the models that they serve by gpulet size and time."""
        if now_s > self._held_since_s:
            for gpulets in self._placed.values():
                whole = sum(placed.share_pct * bool(placed.models) for placed in gpulets)
                for placed in gpulets:
                    for share in placed.models:
                        part = placed.share_pct / whole / len(placed.models)
                        number = self._numbers[share.model]
                        self._world.hold(number, part, self._held_since_s, now_s)
            self._held_since_s = now_s
