"""What clients of a frontend may take of it: time, memory and descriptors."""

import logging
import resource
from typing import Any

from glet.config.cluster import ClusterConfig
from glet.native import core

logger = logging.getLogger(__name__)

MOST_FILES = 1 << 16
"""Descriptors that are asked for; a system may allow many more."""


def set_limits(loop: Any, cluster: ClusterConfig) -> None:
    """Before doors are opened: theirs, and as many descriptors as this process may have.

    The soft limit is 1024 on many systems, for programs that use select(); a frontend with 4096
    connections at each of two doors would run out of them long before.
    """
    core.set_door_limits(
        loop,
        idle_s=cluster.http_idle_s,
        stall_s=cluster.http_stall_s,
        max_held_mb=cluster.http_max_held_mb,
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        logger.warning("descriptors stay limited to %d: %s", soft, error)
