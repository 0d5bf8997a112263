"""Scenarios: what is served on what, under which traffic, by whom it is controlled."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from glet.config.cluster import ControlConfig
from glet.config.load import load, nearest
from glet.config.resource import resource
from glet.control.autoscalers import autoscaler_files, chosen_autoscaler
from glet.errors import ConfigError
from glet.policy.fleet.make import AutoscalerSettings

Positive = Annotated[float, Meta(gt=0.0)]
NotNegative = Annotated[float, Meta(ge=0.0)]
AtLeastOne = Annotated[int, Meta(ge=1)]
GPULET_POLICIES = ("fleet", "follow", "published", "static")
"""Modes of the control loop; `fleet:NAME` is `fleet` with another autoscaler."""


class FixedTime(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="fixed"):
    """Always `ms`."""

    ms: NotNegative = 0.0


class UniformTime(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="uniform"):
    """Anything from `low_ms` to `high_ms`."""

    low_ms: NotNegative
    high_ms: NotNegative


class LognormalTime(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="lognormal"):
    """`location_ms` + `scale_ms` e^(`sigma` N(0, 1))."""

    location_ms: NotNegative = 0.0
    scale_ms: Positive
    sigma: NotNegative


Time = FixedTime | UniformTime | LognormalTime


class JobConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model with replicas. Times of `router` (passed on the way in and out), `service`, `start`.

    `dispatch` `shared`: one queue, of which the next replica in turn with fewer than `in_flight`
    takes; `blind`: the next in turn, whatever it has. More than `queue_limit` waiting (there, or at
    the replica) refuses. With `tokens` a replica takes that many per `token_window_s`.
    `refused_in_mean` counts refused requests into the mean latency that policies see, at no time at
    all, as Faro's simulator does. `processing_ms` is what policies are told of one request.
    """

    slo_ms: Positive
    percentile: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.99
    weight: Positive = 1.0
    units: AtLeastOne = 1
    replicas: AtLeastOne = 1
    min_replicas: AtLeastOne = 1
    max_replicas: AtLeastOne = 100
    router: Time = FixedTime()
    service: Time
    start: Time = FixedTime()
    hot_start_s: NotNegative = 0.0
    dispatch: Literal["shared", "blind"] = "shared"
    in_flight: AtLeastOne = 4
    queue_limit: Annotated[int, Meta(ge=0)] = 50
    tokens: Annotated[int, Meta(ge=0)] = 0
    token_window_s: Positive = 1.0
    refused_in_mean: bool = False
    processing_ms: NotNegative = 0.0


class FleetConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Jobs that share `quota` units; `job` is for every model of the trace that `jobs` lacks.

    A replica without a unit asks again every `retry_s`. A place that was given up is kept for
    `idle_timeout_s`, which is looked at every `monitor_s`; policies see the last `lookback_s`.
    """

    quota: AtLeastOne
    lookback_s: AtLeastOne = 30
    retry_s: Positive = 5.0
    idle_timeout_s: NotNegative = 30.0
    monitor_s: Positive = 5.0
    start_s: NotNegative = 65.0
    start_free_s: NotNegative = 35.0
    job: JobConfig | None = None
    jobs: dict[str, JobConfig] = {}


class DeviceGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`count` devices of a profile: a folder, a latency.csv, or the name of one of glet's own."""

    profile: str
    count: AtLeastOne = 1


class GpuletModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model that is served on gpulets; its largest batch is the profile's where it says 0."""

    slo_ms: Positive
    max_batch: Annotated[int, Meta(ge=0)] = 0


class GpuletsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Devices that are cut into gpulets by the control loop that does it live.

    `steal`: as in a cluster.toml, gpulets run batches on the shares of idle neighbours, too.
    """

    devices: tuple[DeviceGroup, ...]
    models: dict[str, GpuletModel]
    margin_ms: NotNegative = 1.0
    queue_capacity: AtLeastOne = 1024
    steal: bool = False
    control: ControlConfig = ControlConfig(mode="follow")
    observe_s: Positive = 1.0


class Formula(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Traffic of one model by formula, see workload/generate.py; each kind reads its own keys."""

    kind: Literal["constant", "sinusoid", "spike", "markov", "flux"]
    rate_rps: NotNegative = 0.0
    depth: NotNegative = 0.5
    period_s: Positive = 3600.0
    factor: NotNegative = 2.0
    span_s: tuple[float, float] = (0.0, 0.0)
    rates_rps: tuple[NotNegative, ...] = ()
    stay_s: Positive = 60.0
    phase_s: Positive = 60.0
    seed: int = 0


class ModelTraffic(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model gets of the trace: its `column` (its own name without), scaled, later."""

    column: str = ""
    scale: NotNegative = 1.0
    shift_s: float = 0.0


class WorkloadConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Requests per `interval_s`: of a trace file, and by formula. `history` are other days, and
    `forecast` a file of weights of N-HiTS, which policies then forecast by.

    Files are beside the scenario, or under `resource/traces` of glet. `spacing`: exponential `gaps`
    from the interval's start, `poisson`, or `even`, whose gaps are rounded down to `tick_ms`.
    `times` is a CSV of arrival times in seconds, a column per model (workload/times.py): these
    models' requests come just then, whatever the seed. It may stand beside trace and formulas.
    """

    trace: str = ""
    times: str = ""
    history: str = ""
    forecast: str = ""
    interval_s: Positive = 60.0
    intervals: Annotated[int, Meta(ge=0)] = 0
    spacing: Literal["gaps", "poisson", "even"] = "gaps"
    tick_ms: NotNegative = 0.0
    rounding: Literal["carry", "floor"] = "carry"
    models: dict[str, ModelTraffic] = {}
    formulas: dict[str, Formula] = {}


class ReportConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Intervals of `interval_s`. `bins` is over how many utility is averaged, an interval without
    requests counting 0; with 0 it is over those of the trace, and such an interval loses nothing.
    `reward` are the weights of violations and of used units over the quota (DRAFAS).
    """

    interval_s: Positive = 60.0
    bins: Annotated[int, Meta(ge=0)] = 0
    reward: tuple[float, float] = (0.9, 0.1)


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scenario file. `compare` are the policies of --compare; `settings` of some, by name."""

    fleet: FleetConfig | None = None
    gpulets: GpuletsConfig | None = None
    workload: WorkloadConfig
    policy: str = ""
    compare: tuple[str, ...] = ()
    settings: dict[str, AutoscalerSettings] = {}
    seed: Annotated[int, Meta(ge=0)] = 42
    report: ReportConfig = ReportConfig()
    folder: str = ""

    def __post_init__(self) -> None:
        if (self.fleet is None) == (self.gpulets is None):
            raise ValueError("give one of [fleet] and [gpulets]")

    def policies(self) -> tuple[str, ...]:
        """Names that --policy takes."""
        if self.gpulets is not None:
            return GPULET_POLICIES
        return tuple(sorted({*autoscaler_files(), *self.settings}))

    def checked_policy(self, name: str) -> str:
        """Raises ConfigError, with the nearest name, for a policy that there is not."""
        if self.fleet is not None and name.endswith(".toml"):
            return name
        mode, colon, autoscaler = name.partition(":")
        if self.gpulets is not None and mode == "fleet" and colon:
            chosen_autoscaler(autoscaler)
            return name
        if name not in self.policies():
            raise ConfigError(f"no policy is called {name!r}; {nearest(name, self.policies())}")
        return name


def find_scenario(name: str) -> Path:
    """A file of that path, or one of resource/scenarios by its name. Raises ConfigError."""
    path = Path(name)
    if path.suffix or path.exists():
        return path
    folder = resource("scenarios")
    known = {entry.stem: entry for entry in folder.glob("*.toml")}
    if name not in known:
        raise ConfigError(f"no scenario is called {name!r}; {nearest(name, known)}")
    return known[name]


def load_scenario(path: Path) -> Scenario:
    """Raises ConfigError with file, field and what would be valid."""
    scenario = load(path, Scenario)
    if scenario.policy:
        scenario.checked_policy(scenario.policy)
    for name in scenario.compare:
        scenario.checked_policy(name)
    return msgspec.structs.replace(scenario, folder=str(path.resolve().parent))


def sized(scenario: Scenario, size: int) -> Scenario:
    """The same with so many units, or devices of the first group."""
    if size < 1:
        raise ConfigError(f"a size of {size}; valid is 1 or more")
    if scenario.fleet is not None:
        fleet = msgspec.structs.replace(scenario.fleet, quota=size)
        return msgspec.structs.replace(scenario, fleet=fleet)
    gpulets = scenario.gpulets
    if gpulets is None or not gpulets.devices:
        return scenario
    first = msgspec.structs.replace(gpulets.devices[0], count=size)
    gpulets = msgspec.structs.replace(gpulets, devices=(first, *gpulets.devices[1:]))
    return msgspec.structs.replace(scenario, gpulets=gpulets)
