"""Which world a device's executors start in."""

from glet.clock import Clock
from glet.config.cluster import ClusterConfig
from glet.serve.executor_env import ExecutorEnv, PlainEnv
from glet.serve.mps import MpsClients
from glet.serve.poll_loop import PollLoop
from glet.serve.run_dir import RunDir
from glet.types.device import DeviceInfo


def make_env(
    cluster: ClusterConfig, device: DeviceInfo, run_dir: RunDir, poll: PollLoop, clock: Clock
) -> ExecutorEnv:
    """Raises ConfigError when the device is cut by MPS, and MPS is not there."""
    if device.kind != "mps":
        return PlainEnv(device)
    return MpsClients(device, run_dir.path, poll, clock, limit_memory=cluster.limit_memory)
