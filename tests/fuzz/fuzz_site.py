"""A real glet that is attacked: its sockets, and whether all of it still works afterwards."""

import json
import os
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zmq
from fuzz_dice import Dice, pieces
from h2_frames import call, hello, message
from two_models import X, make_two_models
from waiting import wait_for

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig
from glet.serve.up import LocalCluster

LIMIT_S = 120.0
LIVE = "/inference.GRPCInferenceService/ServerLive"
READ_BYTES = 1 << 16
INFER = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
).encode()


class Usage(NamedTuple):
    """Of one process."""

    files: int
    memory_mb: float


class Site:
    """A cluster of one device with `a` and `b`, over all its doors."""

    def __init__(self, cluster: LocalCluster, folder: Path, client_keys: Mapping[str, str]) -> None:
        """`client_keys`: options of a Client that is let in."""
        self.cluster = cluster
        self.folder = folder
        self._client_keys = client_keys
        self._zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sent = 0
        self.pids = self._processes()

    def close(self) -> None:
        self._zmq.term()

    # ---- attacks

    def tcp(self, door: str, dice: Dice, data: bytes) -> bytes:
        """One connection: sends in pieces, and takes what is answered until it is quiet or over."""
        host, _, port = self.cluster.doors[door].rpartition(":")
        with socket.create_connection((host, int(port)), LIMIT_S) as peer:
            answer = b""
            try:
                for piece in pieces(dice, data):
                    peer.sendall(piece)
                if dice.once_in(4):
                    return answer  # closed with everything unread
                peer.shutdown(socket.SHUT_WR)
                while chunk := peer.recv(READ_BYTES):
                    answer += chunk
            except TimeoutError:
                raise  # it hangs
            except OSError:
                pass  # it has heard enough
        self.sent += 1
        return answer

    def zmq(self, endpoint: str, messages: list[list[bytes]]) -> list[list[bytes]]:
        """One DEALER: sends them all, and takes what comes until nothing does."""
        peer = self._zmq.socket(zmq.DEALER)
        peer.linger = 1000
        answers = []
        try:
            peer.connect(endpoint)
            for frames in messages:
                peer.send_multipart(frames)
            while peer.poll(20):
                answers.append(peer.recv_multipart())
        finally:
            peer.close()
        self.sent += len(messages)
        return answers

    def endpoints(self, pattern: str) -> list[str]:
        """Those in the run directory: `control*` of backends, `x` of executors, `e*` their data."""
        return [f"ipc://{path}" for path in self.folder.rglob(pattern) if path.is_socket()]

    # ---- what has to hold

    def check(self) -> None:
        """Every door answers right, and nothing was started again."""
        wait_for(self._infers)
        if "grpc" in self.cluster.doors:
            self._check_grpc()
        with self.client() as client:
            np.testing.assert_array_equal(client.infer("b", X, deadline_ms=20_000.0), X * 2)
        assert self.same_processes()

    def client(self) -> Client:
        """One that is let in."""
        return Client(self.cluster.endpoint, **self._client_keys)

    def same_processes(self) -> bool:
        """Whether nothing was started again."""
        return self._processes() == self.pids

    def _infers(self) -> bool:
        """A busy machine may find its own executor silent for a while, and says 503 then."""
        url = f"http://{self.cluster.doors['http']}/v2/models/a/infer"
        try:
            with urllib.request.urlopen(url, INFER, timeout=LIMIT_S) as answer:
                assert json.load(answer)["outputs"][0]["data"] == [2, 4, 6, 8]
        except urllib.error.HTTPError as error:
            error.close()
            if error.code not in (503, 504):
                raise
            return False
        return True

    def _check_grpc(self) -> None:
        host, _, port = self.cluster.doors["grpc"].rpartition(":")
        with socket.create_connection((host, int(port)), LIMIT_S) as peer:
            peer.sendall(hello() + call(1, LIVE, b""))
            got = b""
            while message(b"\x08\x01") not in got:
                chunk = peer.recv(READ_BYTES)
                assert chunk, "closed before it answered"
                got += chunk

    def wait_until_watched(self) -> None:
        """Until the controller, which starts last, has all of its descriptors."""
        with self.client() as client:
            wait_for(lambda: client.observation()["observation"])

    def usage(self) -> dict[int, Usage]:
        """By process id."""
        return {pid: usage_of(pid) for pid in self._processes()}

    def settled(self, before: dict[int, Usage], more_mb: float) -> dict[int, Usage]:
        """Waits until descriptors are as few as before; fails where memory has grown by more."""

        def is_back() -> bool:
            now = self.usage()
            return all(now[pid].files <= used.files + 8 for pid, used in before.items())

        wait_for(is_back)
        now = self.usage()
        grown = {pid: now[pid].memory_mb - used.memory_mb for pid, used in before.items()}
        assert max(grown.values()) < more_mb, grown
        return now

    def _processes(self) -> list[int]:
        """The daemons and what they started, by id."""
        found = set(self.cluster.pids().values())
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended meanwhile
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)


def usage_of(pid: int) -> Usage:
    """Descriptors and resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Usage(len(os.listdir(f"/proc/{pid}/fd")), pages * os.sysconf("SC_PAGE_SIZE") / 1e6)


@contextmanager
def site(
    grpc: bool = True, client_keys: Mapping[str, str] | None = None, **changes: object
) -> Iterator[Site]:
    """Runs until it is left."""
    with tempfile.TemporaryDirectory(prefix="glet-fuzz-") as name:
        folder = Path(name)
        given = {
            "listen": "tcp://127.0.0.1:*",
            "http": "127.0.0.1:*",
            "grpc": "127.0.0.1:*" if grpc else "",
            "http_max_body_mb": 4,
            "backend": (BackendConfig(profile=str(folder / "latency.csv")),),
            "run_dir": str(folder / "run"),
            **make_two_models(folder),
            "partition": "cpu",
            **changes,
        }
        cluster = LocalCluster(ClusterConfig(**given), SystemClock(), log_level="error")
        with cluster:
            made = Site(cluster, folder, client_keys or {})
            try:
                made.wait_until_watched()
                yield made
            finally:
                made.close()
