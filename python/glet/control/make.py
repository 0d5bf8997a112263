"""A control loop from a cluster's configuration and the profiles on disk."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from glet.clock import Clock
from glet.config.cluster import ClusterConfig, ControlConfig
from glet.control.autoscalers import chosen_autoscaler
from glet.control.loop import ControlLoop
from glet.control.objectives import AppObjectives
from glet.control.record import Header, header_of
from glet.errors import ConfigError
from glet.plan.problem import DeviceType
from glet.policy.fleet.make import AutoscalerSettings
from glet.profiles import latency_csv
from glet.profiles.interference import Interference, NoInterference
from glet.profiles.interference_files import read_interference
from glet.types.plan import Plan


class Made(NamedTuple):
    """A loop, the first line of its record, and what apps leave their models."""

    loop: ControlLoop
    header: Header
    objectives: AppObjectives


def make_loop(
    cluster: ClusterConfig, *, plan: Plan | None = None, clock: Clock | None = None
) -> Made:
    """`plan` is what serves, None: what the first observation says. The clock measures rounds.

    Raises ConfigError and ProfileError for settings and profiles that are wrong.
    """
    control = decided(cluster)
    types = types_of({b.device: b.profile for b in cluster.backend if b.profile})
    if control.mode != "static" and not types:
        raise ConfigError(
            f"control mode {control.mode} needs a profile of a device; give [[backend]] a profile, "
            "or say mode static"
        )
    loop = ControlLoop(
        control,
        types,
        plan=plan,
        margin_ms=cluster.margin_ms,
        clock=clock,
        autoscaler=autoscaler_of(control),
    )
    return Made(loop, header_of(cluster, control, plan), AppObjectives(types.values()))


def autoscaler_of(control: ControlConfig) -> AutoscalerSettings | None:
    """The settings that mode `fleet` runs with; None in other modes. Raises ConfigError."""
    return chosen_autoscaler(control.autoscaler) if control.mode == "fleet" else None


def decided(cluster: ClusterConfig) -> ControlConfig:
    """[control] with its mode: `auto` follows where all devices have a profile and no plan is."""
    control = cluster.control
    if control.mode != "auto":
        return control
    follows = all(backend.profile for backend in cluster.backend)
    given = bool(cluster.plan or cluster.gpulet)
    return msgspec.structs.replace(control, mode="follow" if follows and not given else "static")


def types_of(profiles: Mapping[int, str]) -> dict[int, DeviceType]:
    """What profiles say of each device, given their paths by device number; each is read once."""
    read: dict[str, DeviceType] = {}
    for path in profiles.values():
        if path not in read:
            read[path] = _read(Path(path))
    return {number: read[path] for number, path in profiles.items()}


def _read(path: Path) -> DeviceType:
    profile = latency_csv.read(path).device
    numbers = path / "interference.toml"
    interference: Interference = NoInterference()
    if numbers.is_file():
        interference = read_interference(numbers, profile)
    return DeviceType(profile=profile, shares=profile.shares, interference=interference)
