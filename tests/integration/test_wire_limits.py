"""What peers of glet's own port may take, and what a frontend does without descriptors."""

import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zmq
from echo_loop import EchoLoop, echo_loop
from fuzz_site import Site, site, usage_of
from fuzz_wire import DATA_HELLO, HELLO
from two_models import X
from waiting import WAIT_S, wait_for

from glet.native import core
from glet.wire.zmq_path import libzmq_path

LARGE = 1 << 20
MANY = 600  # answers of a megabyte each, more than may wait for one client
LIVE = b"GET /v2/health/live HTTP/1.1\r\nHost: t\r\n\r\n"
Sockets = zmq.Context[zmq.Socket[bytes]]


@pytest.fixture
def context() -> Iterator[Sockets]:
    made: Sockets = zmq.Context()
    made.set(zmq.MAX_SOCKETS, 4096)
    yield made
    made.destroy(linger=0)


@pytest.fixture
def rig() -> Iterator[tuple[EchoLoop, str]]:
    bound: list[str] = []
    with echo_loop(lambda loop: bound.append(loop.bind("tcp://127.0.0.1:*"))) as made:
        made.echo("large", [("x", "uint8", [LARGE])], 600_000.0)
        made.echo("small", [("x", "float32", [4])], 600_000.0)
        yield made, bound[0]


def assert_serves(context: Sockets, endpoint: str) -> None:
    """Another client is answered."""
    peer = context.socket(zmq.DEALER)
    peer.connect(endpoint)
    header = {"op": "infer", "id": 1, "model": "small", "inputs": [["x", "float32", [4]]]}
    peer.send_multipart(HELLO)
    peer.send_multipart([msgspec.msgpack.encode(header), X.tobytes()])
    for _ in range(2):
        assert peer.poll(int(WAIT_S * 1000))
        answer = peer.recv_multipart()
    assert answer[1:] == [X.tobytes()]
    peer.close()


def test_who_never_reads_loses_answers_and_not_our_memory(
    rig: tuple[EchoLoop, str], context: Sockets
) -> None:
    made, endpoint = rig
    silent = context.socket(zmq.DEALER)
    silent.rcvhwm = 1  # so that what is not read stays on the other side
    silent.setsockopt(zmq.RCVBUF, 4096)
    silent.connect(endpoint)
    silent.send_multipart(HELLO)
    before_mb = usage_of(os.getpid()).memory_mb
    header = {"op": "infer", "model": "large", "inputs": [["x", "uint8", [LARGE]]]}
    body = bytes(LARGE)
    for number in range(MANY):
        silent.send_multipart([msgspec.msgpack.encode(header | {"id": number}), body])
        # One after the other: what is looked at is what was answered.
        wait_for(
            lambda done=number + 1: made.loop.stats()["large"]["ok"] >= done,
            lambda _: time.sleep(0.002),
        )
    assert made.loop.stats()["large"]["unsent"] > MANY // 4
    assert usage_of(os.getpid()).memory_mb - before_mb < MANY
    assert_serves(context, endpoint)
    silent.close(linger=0)


def test_thousands_of_clients_come_and_go(rig: tuple[EchoLoop, str], context: Sockets) -> None:
    _, endpoint = rig
    files = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        peers = [context.socket(zmq.DEALER) for _ in range(100)]
        for peer in peers:
            peer.linger = 0
            peer.connect(endpoint)
            peer.send_multipart(HELLO)
        for peer in peers:
            assert peer.poll(int(WAIT_S * 1000))
            peer.close()
    wait_for(lambda: len(os.listdir("/proc/self/fd")) < files + 50)
    assert_serves(context, endpoint)


@pytest.mark.parametrize("budget_ns", [-(2**63), -1, 0, 2**63 - 1])
def test_a_budget_may_be_any_number(budget_ns: int, tmp_path: Path, context: Sockets) -> None:
    with core.Engine() as engine:
        engine.add_gpulet(1, "profiled")
        executor = core.ExecutorLoop(libzmq_path(), engine)
        endpoint = executor.bind(f"ipc://{tmp_path}/e")
        executor.start()
        peer = context.socket(zmq.DEALER)
        peer.linger = 0
        peer.connect(endpoint)
        peer.send_multipart(DATA_HELLO)
        peer.send_multipart([struct.pack("<B3xii4xQq", 1, 1, 1, 7, budget_ns), bytes(16)])
        kinds = []
        for _ in range(2):
            assert peer.poll(int(WAIT_S * 1000))
            kinds.append(peer.recv_multipart()[0][0])
        assert kinds == [0, 2]
        peer.close(linger=0)
        executor.close()


@pytest.fixture(scope="module")
def real() -> Iterator[Site]:
    with site(grpc=False, drain_s=30.0) as made:
        yield made


@pytest.mark.slow
def test_without_descriptors_it_serves_on_and_does_not_spin(real: Site) -> None:
    pid = real.cluster.pids()["frontend"]
    host, _, port = real.cluster.doors["http"].rpartition(":")
    with socket.create_connection((host, int(port)), WAIT_S) as early:
        used = usage_of(pid).files
        limits = _limit_files(pid, used + 10)
        crowd = [socket.create_connection((host, int(port)), WAIT_S) for _ in range(60)]
        try:
            wait_for(lambda: usage_of(pid).files >= used + 10)
            before_s, start = _cpu_s(pid), time.monotonic()
            for _ in range(20):
                early.sendall(LIVE)
                assert early.recv(4096).startswith(b"HTTP/1.1 200")
                time.sleep(0.1)
            # A loop that spins has used all of its time.
            assert _cpu_s(pid) - before_s < 0.7 * (time.monotonic() - start)
        finally:
            for peer in crowd:
                peer.close()
            _limit_files(pid, limits)
    wait_for(lambda: usage_of(pid).files <= used)
    real.check()


def _limit_files(pid: int, most: int) -> int:
    """Of another process; the limit that was."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, hard))
    return int(soft)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.slow
def test_a_frontend_may_have_as_many_files_as_the_system_lets_it(real: Site) -> None:
    soft, hard = resource.prlimit(real.cluster.pids()["frontend"], resource.RLIMIT_NOFILE)
    assert soft == (1 << 16 if hard == resource.RLIM_INFINITY else min(hard, max(soft, 1 << 16)))


@pytest.mark.slow
def test_a_signal_ends_it_after_what_is_under_way_is_answered() -> None:
    with site(grpc=False) as made:
        host, _, port = made.cluster.doors["http"].rpartition(":")
        with socket.create_connection((host, int(port)), WAIT_S) as peer:
            peer.sendall(LIVE)
            assert peer.recv(4096).startswith(b"HTTP/1.1 200")
            os.kill(made.cluster.pids()["frontend"], signal.SIGTERM)
            assert peer.recv(4096) == b""
