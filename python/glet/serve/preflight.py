"""What can be seen to be wrong with a cluster before any process of it starts."""

from collections.abc import Iterable
from pathlib import Path

from glet.config.cluster import BackendConfig, ClusterConfig, backend_name
from glet.config.load import nearest
from glet.control.make import autoscaler_of
from glet.errors import ConfigError, ProfileError
from glet.plan.layout import arrange
from glet.profiles import latency_csv
from glet.serve.backend import device_info
from glet.serve.frontend import static_plan
from glet.serve.repository import Entry, Repository
from glet.serve.web_guard import WebGuard
from glet.types.plan import GpuletPlan, Plan
from glet.wire.address import check_bind, check_web_bind
from glet.wire.keys import check_keys


def check_cluster(cluster: ClusterConfig) -> None:
    """For a cluster of which all daemons run here. Raises ConfigError for the first fault.

    What only shows when something runs (a port in use, a model that fails) is not looked at.
    """
    check_keys(cluster.security)
    check_bind(cluster.listen, beyond=cluster.binds_beyond)
    for address in filter(None, (cluster.http, cluster.grpc)):
        check_web_bind(address, insecure=cluster.insecure, guarded=cluster.security.web_guarded)
    WebGuard(cluster.security, cluster.dashboard_token)
    repository = Repository(Path(cluster.models))
    entries = {entry.name: entry for entry in repository.entries()}
    for name in repository.app_names():
        repository.app(name)
    if not entries:
        raise ConfigError(
            f"{repository.folder}: holds no models; "
            f"glet models export lenet --to {repository.folder} makes a first one"
        )
    plan = static_plan(cluster)
    if plan is not None:
        _check_plan(cluster, plan, entries)
    _check_control(cluster)
    backends = started_here(cluster)
    if cluster.ray.address and cluster.partition == "profiled":
        backends = cluster.backend[:1]  # of all the same, and the profile is here
    for backend in backends:
        gpulets = plan.on_device(backend.device) if plan is not None else None
        _check_device(cluster, backend, gpulets, entries)


def started_here(cluster: ClusterConfig) -> tuple[BackendConfig, ...]:
    """The backends that `glet up` starts: not those that a file of addresses tells of."""
    return tuple(b for b in cluster.backend if b.control or not cluster.addresses)


def _check_plan(cluster: ClusterConfig, plan: Plan, entries: dict[str, Entry]) -> None:
    where = cluster.plan or "the plan"
    for name in plan.models():
        if name not in entries:
            raise ConfigError(
                f"{where}: model {name!r} is not in {cluster.models}; {nearest(name, entries)}"
            )
    for share in (share for gpulet in plan.gpulets for share in gpulet.models):
        largest = entries[share.model].config.max_batch
        if share.batch > largest:
            raise ConfigError(
                f"{where}: batch {share.batch} of model {share.model!r} is above its max_batch; "
                f"valid is 1 to {largest}"
            )
    known = {backend.device for backend in cluster.backend}
    for device in sorted({gpulet.device for gpulet in plan.gpulets} - known):
        raise ConfigError(
            f"{where}: has gpulets on device {device}, which no backend has; "
            f"valid are {', '.join(str(number) for number in sorted(known))}"
        )


def _check_control(cluster: ClusterConfig) -> None:
    control = cluster.control
    if control.address and control.start:
        check_bind(control.address, beyond=cluster.binds_beyond)
    bare = [backend_name(backend) for backend in cluster.backend if not backend.profile]
    if control.mode not in ("auto", "static") and bare:
        raise ConfigError(
            f"control {control.mode} plans with a profile of every device, and backend {bare[0]} "
            "has none; say --profile FILE, or --control static"
        )
    autoscaler_of(control)
    folder = Path(control.record).parent
    if control.record and not folder.is_dir():
        raise ConfigError(f"record {control.record}: {folder} is no folder")


def _check_device(
    cluster: ClusterConfig,
    backend: BackendConfig,
    gpulets: Iterable[GpuletPlan] | None,
    entries: dict[str, Entry],
) -> None:
    device = device_info(cluster, backend)
    for placed in arrange((), tuple(gpulets or ()), device, 0):
        if placed.error:
            raise ConfigError(f"{cluster.plan or 'the plan'}: {placed.error}")
    if cluster.partition != "profiled":
        return
    if not backend.profile:
        raise ConfigError(
            f"backend {backend_name(backend)}: partition profiled needs a profile; "
            "say --profile FILE, a latency.csv or a profile folder"
        )
    profile = latency_csv.read(Path(backend.profile))
    try:
        if gpulets is None:
            for name in entries:
                profile.shares(name)
        for gpulet in gpulets or ():
            for share in gpulet.models:
                profile.table(share.model, gpulet.share_pct, entries[share.model].config.max_batch)
    except ProfileError as error:
        raise ConfigError(str(error)) from error
