"""Doors of a frontend: other protocols than glet's own, each at an address of its own."""

from typing import Any

from glet.config.cluster import ClusterConfig
from glet.native import core
from glet.serve.nghttp2_path import nghttp2_path
from glet.serve.web_guard import WebGuard
from glet.wire.address import check_web_bind


def open_doors(loop: Any, cluster: ClusterConfig) -> tuple[dict[str, str], WebGuard]:
    """Opens what the cluster asks for, before the loop starts: HOST:PORT by protocol.

    With who guards them; call its renew() every second or so.

    Raises ConfigError when an address is malformed, taken, or beyond this machine with neither a
    guard nor `insecure`, and for gRPC when there is no nghttp2.
    """
    guard = WebGuard(cluster.security, cluster.dashboard_token)
    opened = {}
    for address in filter(None, (cluster.http, cluster.grpc)):
        check_web_bind(address, insecure=cluster.insecure, guarded=cluster.security.web_guarded)
    if cluster.http:
        opened["http"] = core.add_http_door(
            loop,
            cluster.http,
            cluster.http_max_body_mb,
            cluster.http_max_connections,
            guard=guard.core,
        )
    if cluster.grpc:
        opened["grpc"] = core.add_grpc_door(
            loop,
            cluster.grpc,
            nghttp2_path(),
            cluster.http_max_body_mb,
            cluster.http_max_connections,
            guard=guard.core,
        )
    return opened, guard
