"""What a gpulet is on this machine: the best there is, or what was asked for."""

import msgspec

from glet.config.cluster import BackendConfig, ClusterConfig
from glet.errors import ConfigError, DeviceError
from glet.serve.engine_partition import engine_kinds
from glet.serve.gpus import GpuFacts, gpu_facts
from glet.types.device import GPU_KINDS, PartitionChoice, PartitionKind

NO_GREEN = "the core of this glet makes no green contexts"


class Choice(msgspec.Struct, frozen=True):
    """`says` is one line for people: what was taken on which GPUs, or why a GPU was not."""

    kind: PartitionKind
    says: str = ""
    gpus: int = 0


def choose_partition(wanted: PartitionChoice, facts: GpuFacts, hosts: tuple[str, ...]) -> Choice:
    """The kind of partition; `hosts` are the kinds that the core can host.

    `auto` is green where a usable GPU is, else mps where the driver is too old for that but MPS is
    there, else cpu. Raises ConfigError when what was asked for cannot be had.
    """
    if wanted == "auto":
        return _best(facts, hosts)
    why_not = {"green": _why_not_green, "mps": _why_not_mps}.get(wanted)
    problem = why_not(facts, hosts) if why_not is not None else ""
    if problem:
        raise ConfigError(f"partition {wanted}: {problem}")
    return _chosen(wanted, facts)


def resolve(cluster: ClusterConfig) -> tuple[ClusterConfig, Choice]:
    """The same cluster with a kind of partition, and a backend per GPU where it names none.

    The driver is only asked where the answer matters. Raises ConfigError as choose_partition().
    """
    if cluster.partition in ("cpu", "profiled"):
        return cluster, Choice(cluster.partition)
    if cluster.partition in GPU_KINDS and cluster.backend != (BackendConfig(),):
        if cluster.partition == "green" and "green" not in engine_kinds():
            raise ConfigError(f"partition green: {NO_GREEN}; valid are mps, cpu, profiled")
        return cluster, Choice(cluster.partition)
    try:
        facts = gpu_facts()
    except DeviceError as error:
        if cluster.partition != "auto":
            raise ConfigError(f"partition {cluster.partition}: {error}") from error
        return msgspec.structs.replace(cluster, partition="cpu"), Choice("cpu", f"cpu: {error}")
    choice = choose_partition(_wanted(cluster), facts, engine_kinds())
    backends = cluster.backend
    if choice.kind in GPU_KINDS and backends == (BackendConfig(),):
        backends = tuple(BackendConfig(device=i, gpu=str(i)) for i in range(choice.gpus))
    return msgspec.structs.replace(cluster, partition=choice.kind, backend=backends), choice


def _wanted(cluster: ClusterConfig) -> PartitionChoice:
    """A backend that names cores wants no GPU."""
    if cluster.partition == "auto" and any(backend.cores for backend in cluster.backend):
        return "cpu"
    return cluster.partition


def _best(facts: GpuFacts, hosts: tuple[str, ...]) -> Choice:
    if not facts.probe.devices and not facts.has_node:
        return Choice("cpu")
    problem = _why_not_green(facts, hosts) or facts.torch_problem
    if not problem:
        return _chosen("green", facts)
    # Without green contexts in the core nothing of it can run models on a GPU.
    if "green" in hosts and not (_why_not_mps(facts, hosts) or facts.torch_problem):
        return _chosen("mps", facts)
    why = problem.partition("; ")[0]
    return Choice("cpu", f"partition cpu, not the GPU: {why}; glet doctor says more")


def _chosen(kind: PartitionKind, facts: GpuFacts) -> Choice:
    if kind not in GPU_KINDS:
        return Choice(kind)
    gpus = facts.probe.devices
    return Choice(kind, f"partition {kind}: {'; '.join(gpu.says for gpu in gpus)}", len(gpus))


def _why_not_green(facts: GpuFacts, hosts: tuple[str, ...]) -> str:
    if not facts.probe.devices:
        return _no_gpu(facts)
    if not facts.probe.available:
        return f"{facts.probe.reason}; {_others(facts, hosts)}"
    if "green" not in hosts:
        return f"{NO_GREEN}; {_others(facts, hosts)}"
    return ""


def _why_not_mps(facts: GpuFacts, hosts: tuple[str, ...]) -> str:
    if not facts.probe.devices:
        return _no_gpu(facts)
    if not facts.mps_control:
        return (
            "MPS is not installed (nvidia-cuda-mps-control is not in PATH); "
            f"install the driver's utilities, or say {_spelled('green' in hosts, 'green')}cpu"
        )
    return ""


def _no_gpu(facts: GpuFacts) -> str:
    why = f" ({facts.probe.reason})" if facts.probe.reason else ""
    what = "a GPU is here, but cannot be used" if facts.has_node else "no NVIDIA GPU here"
    return f"{what}{why}; valid here are cpu, profiled"


def _others(facts: GpuFacts, hosts: tuple[str, ...]) -> str:
    return f"valid here are {_spelled(bool(facts.mps_control), 'mps')}cpu, profiled"


def _spelled(there: bool, name: str) -> str:
    return f"{name}, " if there else ""
