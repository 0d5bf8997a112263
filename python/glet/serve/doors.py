"""Doors of a frontend: other protocols than glet's own, each at an address of its own."""

from typing import Any

from glet.config.cluster import ClusterConfig
from glet.native import core
from glet.serve.nghttp2_path import nghttp2_path
from glet.wire.address import check_web_bind


def open_doors(loop: Any, cluster: ClusterConfig) -> dict[str, str]:
    """Opens what the cluster asks for, before the loop starts: HOST:PORT by protocol.

    Raises ConfigError when an address is malformed, taken, or beyond this machine without
    `insecure`, and for gRPC when there is no nghttp2.
    """
    opened = {}
    if cluster.http:
        check_web_bind(cluster.http, insecure=cluster.insecure)
        opened["http"] = core.add_http_door(
            loop, cluster.http, cluster.http_max_body_mb, cluster.http_max_connections
        )
    if cluster.grpc:
        check_web_bind(cluster.grpc, insecure=cluster.insecure)
        opened["grpc"] = core.add_grpc_door(
            loop,
            cluster.grpc,
            nghttp2_path(),
            cluster.http_max_body_mb,
            cluster.http_max_connections,
        )
    return opened
