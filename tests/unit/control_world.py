"""A cluster in virtual time for tests of the control loop: arrivals, devices, plans that serve."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from glet.actuate.timed import TimedActuator
from glet.clock import ManualClock
from glet.config.cluster import ControlConfig
from glet.control.loop import ControlLoop
from glet.control.round import Round
from glet.plan.problem import DeviceType
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.profiles.interference import NoInterference
from glet.types.observation import (
    DeviceObservation,
    GpuletObservation,
    ModelObservation,
    Observation,
    Outcomes,
    TenantObservation,
)
from glet.types.plan import GpuletPlan, Plan

SPAN_S = 1.0
STEP_S = 0.25
BATCHES = (1, 2, 4, 8, 16, 32)
SHARES = tuple(range(10, 101, 10))
Rate = Callable[[float], float | None]
"""Time in s -> requests/s; None while nobody knows of the model."""


def device_type(models: Sequence[str], shares: Sequence[int] = SHARES) -> DeviceType:
    """Every model takes 2 ms and 1 ms per item on the whole device, longer on a share."""
    latencies = {
        share: {batch: 2.0 + 1.0 * batch / (share / 100.0) for batch in BATCHES}
        for share in SHARES
    }
    profiles = {model: ModelProfile(model, latencies, memory_mb=100.0) for model in models}
    profile = DeviceProfile("gpu", profiles, memory_mb=20_000.0, where="gpu")
    return DeviceType(profile=profile, shares=tuple(shares), interference=NoInterference())


class World:
    """Models with rates, devices that may be lost, and the loop that is told of them.

    Requests are Poisson (`seed`) or, with None, exactly as many as the rate says. What a plan does
    not give is late; nothing waits from one step to the next.
    """

    def __init__(
        self,
        rates: dict[str, Rate],
        devices: int,
        config: ControlConfig,
        *,
        seed: int | None = 0,
        takes_s: float = 0.5,
        known: Sequence[str] | None = None,
    ) -> None:
        self.rates = rates
        self.kind = device_type(tuple(rates) if known is None else known)
        self.clock = ManualClock()
        self.actuator = TimedActuator(self.clock, takes_s)
        self.loop = ControlLoop(config, dict.fromkeys(range(devices), self.kind))
        self.lost: set[int] = set()
        self.devices = devices
        self.rounds: list[Round] = []
        self.served: list[tuple[float, str, float, float]] = []
        self.correction: dict[str, float] = {}
        self._config = config
        self._rng = None if seed is None else np.random.default_rng(seed)
        self._steps: dict[str, list[float]] = {model: [] for model in rates}
        self._mean: dict[str, float] = {}

    def run(self, until_s: float) -> list[Round]:
        """The rounds held until then."""
        first = len(self.rounds)
        while self.clock.now_s() < until_s - 1e-9:
            self.clock.sleep_s(STEP_S)
            done = self.loop.on_observation(self.observe())
            if done is None:
                continue
            self.rounds.append(done)
            if done.plan is not None:
                self.actuator.perform(done.plan, done.steps)
        return self.rounds[first:]

    def changes(self, since_s: float) -> list[Round]:
        return [r for r in self.rounds if r.plan is not None and r.now_s > since_s]

    def unmet_rps(self, model: str, since_s: float, until_s: float) -> float:
        """The largest shortfall of a model between two times."""
        return max(
            (asked - given for at, name, asked, given in self.served
             if name == model and since_s < at <= until_s),
            default=0.0,
        )  # fmt: skip

    def observe(self) -> Observation:
        now_s = self.clock.now_s()
        plan = self.actuator.serving()
        models = []
        for name, rate in self.rates.items():
            asked_rps = rate(now_s - STEP_S / 2)
            if asked_rps is None:
                self._steps[name] = []
                self._mean.pop(name, None)
                continue
            models.append(self._model(name, asked_rps, plan))
        return Observation(
            now_s=now_s,
            span_s=SPAN_S,
            models=tuple(models),
            devices=tuple(self._device(number, plan) for number in range(self.devices)),
            plan=plan,
        )

    def _model(self, name: str, asked_rps: float, plan: Plan) -> ModelObservation:
        expected = asked_rps * STEP_S
        count = expected if self._rng is None else float(self._rng.poisson(expected))
        steps = self._steps[name]
        steps.append(count)
        whole = round(SPAN_S / STEP_S)
        offered_rps = sum(steps[-whole:]) / SPAN_S
        part = 1.0 - math.exp(-STEP_S / self._config.mean_s)
        mean = self._mean.get(name, offered_rps)
        self._mean[name] = mean + part * (count / STEP_S - mean)
        back = round(self._config.peak_s / STEP_S)
        spans = [
            sum(steps[end - whole : end]) / SPAN_S
            for end in range(max(whole, len(steps) - back), len(steps) + 1)
        ]
        given_rps = capacity_rps(plan, name, self.lost)
        self.served.append((self.clock.now_s(), name, asked_rps, given_rps))
        late = max(0.0, offered_rps - given_rps)
        return ModelObservation(
            model=name,
            slo_ms=100.0,
            max_batch=32,
            offered_rps=offered_rps,
            mean_rps=self._mean[name],
            peak_rps=max(spans, default=offered_rps),
            goodput_rps=offered_rps - late,
            outcomes=Outcomes(ok=round(offered_rps - late), late=round(late)),
            outstanding=round(late * SPAN_S),
        )

    def _device(self, number: int, plan: Plan) -> DeviceObservation:
        return DeviceObservation(
            device=number,
            name=f"device{number}",
            type="gpu",
            kind="profiled",
            alive=number not in self.lost,
            gpulets=tuple(
                self._gpulet(at, gpulet) for at, gpulet in enumerate(plan.on_device(number))
            ),
        )

    def _gpulet(self, at: int, gpulet: GpuletPlan) -> GpuletObservation:
        models = []
        for share in gpulet.models:
            table = ()
            if share.model in self.kind.profile.models():
                row = self.kind.profile.model(share.model).tables((gpulet.share_pct,))[0]
                table = tuple(enumerate(row.tolist(), start=1))
            models.append(
                TenantObservation(
                    model=share.model,
                    state="serving",
                    batch=share.batch,
                    mean_batch=1.0,
                    busy=0.3,
                    correction=self.correction.get(share.model, 1.0),
                    latency_ms=table,
                )
            )
        return GpuletObservation(
            gpulet=at,
            share_pct=gpulet.share_pct,
            given_pct=float(gpulet.share_pct),
            state="serving",
            busy=0.3,
            models=tuple(models),
        )


def capacity_rps(plan: Plan, model: str, lost: set[int]) -> float:
    """What a plan gives a model on the devices that are there."""
    return sum(
        share.rate_rps
        for gpulet in plan.gpulets
        if gpulet.device not in lost
        for share in gpulet.models
        if share.model == model
    )
