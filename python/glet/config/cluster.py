"""`cluster.toml`: the daemons of one cluster, their devices, and optionally the plan."""

import os
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from glet.config.load import load, one_line
from glet.config.security import SecurityConfig
from glet.errors import ConfigError
from glet.types.device import PartitionChoice
from glet.types.plan import GpuletPlan, ModelShare, Plan, problems

Isolation = Literal["device", "gpulet"]
ControlMode = Literal["auto", "static", "follow", "published", "fleet"]
# An index, or a UUID of `nvidia-smi -L`; what CUDA_VISIBLE_DEVICES takes for one device.
GPU_NAME = r"^([0-9]{1,4}|(GPU|MIG)-[0-9A-Za-z/-]+)?$"
Positive = Annotated[float, Meta(gt=0.0)]


class BackendConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device and the daemon that owns it.

    `control` is where frontends reach it; empty: in the run directory. `data` is where its
    executors bind, `tcp://HOST:*` or empty for the run directory. `cores` are the CPU cores it may
    use; empty: all that the process may use. `gpu` is the index or the UUID of a GPU; empty: the
    one whose index is `device`. `metrics` is where Prometheus finds this backend, HOST:PORT;
    empty: nowhere, the frontend tells most of it too. `profile` is a latency.csv or a profile
    folder: for partition `profiled`, and for plans that follow the traffic.
    """

    device: Annotated[int, Meta(ge=0)] = 0
    name: str = ""
    control: str = ""
    data: str = ""
    cores: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    gpu: Annotated[str, Meta(pattern=GPU_NAME)] = ""
    metrics: str = ""
    profile: str = ""
    type: str = ""


class ControlConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The control loop. `mode` is a policy, or `auto`.

    `static` serves the plan as it is, `follow` re-plans from measured rates, `published` does as
    the published gpulet prototype, `fleet` shares devices out in units of `unit_pct` as the
    `autoscaler` (policy/fleet/README.md) says: its name, that of one of `resource/policies`, or a
    TOML file of its settings. `auto` follows where every device has a profile and
    no plan was given, and is static otherwise. Every `epoch_s` a round; with `triggers` also at
    once where control/README.md says so, `min_gap_s` after the last at the earliest.

    Rates are averages over `mean_s` and maxima over `peak_s`. They are planned with head room for
    Poisson arrivals at `headroom_quantile`, counted over the SLO or `headroom_window_s`. Targets
    grow at once by `grow_step` or more, and shrink by `shrink_step` or more after `shrink_after_s`.
    `min_rps` is planned for a model that nobody asks for. `move_cost` is what loading a model anew
    may cost, in devices. A new plan is given out `reorganise_s` after it was made. With `correct`
    latencies are planned as measured. `record` is a JSONL file that every round is appended to.
    `cost_per_device_s` is for reports.

    The frontend starts the controller, of several frontends the one with `start`; the others find
    it at `address`, `tcp://HOST:PORT` or empty for the run directory.
    """

    mode: ControlMode = "auto"
    autoscaler: str = "glet"
    unit_pct: Annotated[int, Meta(ge=1, le=100)] = 10
    planner: str = "glet"
    epoch_s: Positive = 1.0
    triggers: bool = True
    min_gap_s: Annotated[float, Meta(ge=0.0)] = 0.25
    mean_s: Positive = 10.0
    peak_s: Positive = 5.0
    headroom_quantile: Annotated[float, Meta(ge=0.5, lt=1.0)] = 0.99
    headroom_window_s: Positive = 0.25
    grow_step: Annotated[float, Meta(ge=0.0)] = 0.05
    shrink_step: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.1
    shrink_after_s: Annotated[float, Meta(ge=0.0)] = 10.0
    min_rps: Positive = 1.0
    move_cost: Annotated[float, Meta(ge=0.0)] = 0.01
    reorganise_s: Annotated[float, Meta(ge=0.0)] = 0.0
    correct: bool = True
    record: str = ""
    cost_per_device_s: Annotated[float, Meta(ge=0.0)] = 1.0
    start: bool = True
    address: str = ""


class TraceConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Traces of requests by OpenTelemetry (extra `otel`); off while `endpoint` is empty.

    `endpoint` takes OTLP over HTTP, `http://HOST:4318`. Of requests that come without a W3C
    `traceparent` the part `ratio` is traced; for the others their sampled flag decides. `service`
    is what traces call this frontend.
    """

    endpoint: str = ""
    ratio: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.01
    service: str = "glet"

    def __post_init__(self) -> None:
        url = urlsplit(self.endpoint)
        if self.endpoint and not (url.scheme in ("http", "https") and url.hostname):
            raise ValueError(
                f"endpoint {self.endpoint!r} is no URL of http or https; "
                "valid is for example 'http://127.0.0.1:4318'"
            )


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What Prometheus is told at `/metrics`. `triton`: also under the names that Triton has."""

    triton: bool = False


class ModelShareConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A model on a gpulet; without `time_share`, models of a gpulet get equal parts."""

    model: str
    batch: Annotated[int, Meta(ge=1)]
    rate_rps: Annotated[float, Meta(ge=0.0)] = 0.0
    time_share: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None


class GpuletConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A gpulet of the plan; `device` is the number of a backend's device."""

    device: Annotated[int, Meta(ge=0)] = 0
    share_pct: Annotated[int, Meta(ge=1, le=100)]
    models: tuple[ModelShareConfig, ...] = ()


class RayConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Backends on the nodes of the Ray cluster at `address`, for `glet up`; empty: on this machine.

    One for each GPU that Ray knows, or, with `cpus_per_backend`, one for so many CPUs; at most
    `most_backends`. They come and go with the nodes.
    """

    address: str = ""
    cpus_per_backend: Annotated[int, Meta(ge=0)] = 0
    most_backends: Annotated[int, Meta(ge=1, le=1024)] = 32


class ClusterConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a `cluster.toml`. Paths are relative to the file.

    `plan` names a ModelList file; without it and without `gpulet` tables the models are spread
    evenly. `partition` `auto` is the best that this machine has, and one backend for each GPU where
    `backend` says nothing. `isolation` is one executor per device or one per gpulet (always so
    under `mps`). `limit_memory`: under `mps` an executor gets no more of the device's memory than
    its share. With `steal` a gpulet runs a batch on the share of an idle neighbour, too, when
    nothing that may come to that one meanwhile ends late by it. `addresses` is a file that says
    where those backends are reached that have no `control`: they come and go with it
    (config/addresses.py). `margin_ms` is kept free between the end of a batch and a deadline, for
    the way back. A batch that runs longer than `hang_s` (and many times longer than its model's
    longest) has hung: its executor is ended. Nor does one go on that had no gpulet for
    `release_after_s`; it starts again with the next.

    Who has the `dashboard_token` may load and unload models on the dashboard; empty: nobody.

    `http` and `grpc` are where a frontend also speaks the Open Inference Protocol, `HOST:PORT`;
    empty: it does not. `http_max_body_mb` is the largest body or message, `http_max_connections`
    how many clients each of them has at most, `http_max_held_mb` what requests and answers under
    way may take of memory at each. `http_idle_s` is how long an HTTP connection stays open between
    requests; bytes of a request or an answer that do not move for `http_stall_s` end it.
    """

    listen: str = "tcp://127.0.0.1:5555"
    http: str = ""
    grpc: str = ""
    http_max_body_mb: Annotated[int, Meta(ge=1, le=1024)] = 64
    http_max_connections: Annotated[int, Meta(ge=1)] = 4096
    http_max_held_mb: Annotated[int, Meta(ge=1, le=1 << 20)] = 1024
    http_idle_s: Annotated[float, Meta(gt=0.0, le=86400.0)] = 75.0
    http_stall_s: Annotated[float, Meta(gt=0.0, le=86400.0)] = 30.0
    insecure: bool = False
    models: str = "models"
    plan: str = ""
    partition: PartitionChoice = "auto"
    isolation: Isolation = "device"
    limit_memory: bool = False
    steal: bool = False
    margin_ms: Annotated[float, Meta(ge=0.0)] = 1.0
    queue_capacity: Annotated[int, Meta(ge=1)] = 1024
    dashboard_token: str = ""
    drain_s: Positive = 10.0
    hang_s: Positive = 10.0
    release_after_s: Annotated[float, Meta(ge=0.0)] = 30.0
    run_dir: str = ""
    cache: str = ""
    backend: tuple[BackendConfig, ...] = (BackendConfig(),)
    gpulet: tuple[GpuletConfig, ...] = ()
    control: ControlConfig = ControlConfig()
    addresses: str = ""
    ray: RayConfig = RayConfig()
    trace: TraceConfig = TraceConfig()
    metrics: MetricsConfig = MetricsConfig()
    security: SecurityConfig = SecurityConfig()

    def __post_init__(self) -> None:
        if not self.backend:
            raise ValueError("there is no backend: give at least one [[backend]]")
        if self.partition == "green" and self.isolation == "gpulet":
            raise ValueError(
                "partition green has one executor per device, as processes take turns on a GPU; "
                "isolation per gpulet is valid with mps, cpu and profiled"
            )
        if self.steal and (self.partition == "mps" or self.isolation == "gpulet"):
            raise ValueError(
                "steal is between gpulets of one process; valid are isolation device, and "
                "partition green, cpu or profiled"
            )
        for what, values in (
            ("device", [backend.device for backend in self.backend]),
            ("name", [backend_name(backend) for backend in self.backend]),
        ):
            if len(set(values)) < len(values):
                raise ValueError(f"two [[backend]] tables have the same {what}")
        if self.plan and self.gpulet:
            raise ValueError("plan and [[gpulet]] are both given; one of them is valid")
        devices = {backend.device for backend in self.backend}
        for gpulet in self.gpulet:
            if gpulet.device not in devices:
                raise ValueError(
                    f"a [[gpulet]] is on device {gpulet.device}, which no [[backend]] has"
                )
        found = problems(_gpulets(self.gpulet))
        if found:
            raise ValueError(found[0])

    @property
    def binds_beyond(self) -> bool:
        """Whether its ZeroMQ sockets may be where other hosts reach them."""
        return self.insecure or bool(self.security.server_key)

    def static_plan(self) -> Plan | None:
        """The plan of the `gpulet` tables, or None without any."""
        return Plan(gpulets=_gpulets(self.gpulet)) if self.gpulet else None


def backend_name(backend: BackendConfig) -> str:
    """The name it was given, else one made from its device."""
    return backend.name or f"device{backend.device}"


def load_cluster(path: Path) -> ClusterConfig:
    """A cluster.toml, or the .json that glet writes of the effective one. Raises ConfigError."""
    if path.suffix == ".json":
        try:
            return msgspec.json.decode(path.read_bytes(), type=ClusterConfig)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{path}: {one_line(str(error))}") from error
    return anchored(load(path, ClusterConfig), path.parent)


def anchored(config: ClusterConfig, folder: Path) -> ClusterConfig:
    """The same with every relative path made absolute, from `folder`."""

    def absolute(path: str) -> str:
        return str((folder / os.path.expanduser(path)).resolve()) if path else ""

    autoscaler = config.control.autoscaler
    return msgspec.structs.replace(
        config,
        models=absolute(config.models),
        plan=absolute(config.plan),
        run_dir=absolute(config.run_dir),
        cache=absolute(config.cache),
        addresses=absolute(config.addresses),
        security=SecurityConfig(
            **{
                name: absolute(path)
                for name, path in msgspec.structs.asdict(config.security).items()
            }
        ),
        control=msgspec.structs.replace(
            config.control,
            record=absolute(config.control.record),
            autoscaler=absolute(autoscaler) if autoscaler.endswith(".toml") else autoscaler,
        ),
        backend=tuple(
            msgspec.structs.replace(backend, profile=absolute(backend.profile))
            for backend in config.backend
        ),
    )


def _gpulets(tables: tuple[GpuletConfig, ...]) -> tuple[GpuletPlan, ...]:
    gpulets: list[GpuletPlan] = []
    for table in tables:
        same = [g for g in gpulets if (g.device, g.share_pct) == (table.device, table.share_pct)]
        gpulets.append(
            GpuletPlan(
                device=table.device,
                share_pct=table.share_pct,
                dedup=len(same),
                models=tuple(
                    ModelShare(
                        model=share.model,
                        batch=share.batch,
                        rate_rps=share.rate_rps,
                        time_share=share.time_share or 1.0 / len(table.models),
                    )
                    for share in table.models
                ),
            )
        )
    return tuple(gpulets)
