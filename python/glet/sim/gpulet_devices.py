"""Devices of a simulation: they make plans true, as backends do, and say what they serve."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from glet.native import core
from glet.plan.assess import slowdowns, tenants_of
from glet.plan.layout import PlacedGpulet, arrange
from glet.plan.problem import DeviceType
from glet.sim.scenario import GpuletsConfig
from glet.types.device import DeviceInfo
from glet.types.observation import DeviceObservation, GpuletObservation, TenantObservation
from glet.types.plan import ModelShare, Plan, lingers

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
        self._next = 0
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

    def observe(self, span_s: float) -> tuple[DeviceObservation, ...]:
        """What the devices serve, and did since the last call, `span_s` ago."""
        return tuple(
            DeviceObservation(
                device=device,
                name=f"device{device}",
                type=self._types[device].name,
                kind="profiled",
                alive=True,
                emulated=True,
                memory_mb=int(self._types[device].profile.memory_mb),
                gpulets=tuple(self._gpulet(device, one, span_s) for one in placed),
            )
            for device, placed in self._placed.items()
        )

    def _gpulet(self, device: int, placed: PlacedGpulet, span_s: float) -> GpuletObservation:
        tenants = tuple(self._tenant(device, placed, share, span_s) for share in placed.models)
        return GpuletObservation(
            gpulet=placed.number,
            share_pct=placed.share_pct,
            given_pct=placed.given_pct,
            state="ready",
            busy=min(1.0, sum(tenant.busy for tenant in tenants)),
            models=tenants,
        )

    def _tenant(
        self, device: int, placed: PlacedGpulet, share: ModelShare, span_s: float
    ) -> TenantObservation:
        number = self._numbers[share.model]
        served, batches, busy_s = self._world.take_tenant_window(placed.number, number)
        table = self._latency_ms(device, placed, share.model)
        return TenantObservation(
            model=share.model,
            state="ready",
            batch=share.batch,
            served_rps=served / span_s if span_s else 0.0,
            mean_batch=served / batches if batches else 0.0,
            waiting=self._world.waiting(placed.number, number),
            busy=min(1.0, busy_s / span_s) if span_s else 0.0,
            correction=self._world.correction(placed.number, number),
            latency_ms=tuple(enumerate(table, start=1)),
        )

    def _load(self, device: int, placed: PlacedGpulet, share: ModelShare) -> None:
        table_ms = self._latency_ms(device, placed, share.model)
        points = [(batch, max(1, round(ms * NS_PER_MS))) for batch, ms in enumerate(table_ms, 1)]
        limits = core.QueueLimits(
            capacity=self._config.queue_capacity,
            max_batch=share.batch,
            margin_ns=round(self._config.margin_ms * NS_PER_MS),
            linger_ns=round(share.linger_ms * NS_PER_MS),
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
