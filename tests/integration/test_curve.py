"""A cluster over tcp with keys: who is let in, who is not, and what others see of it."""

import asyncio
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import zmq
from two_hosts import Started, free_ports, start_daemons
from vector_entries import write_doubles
from waiting import wait_for
from zmq.utils import z85

from glet.client import AsyncClient, Client
from glet.clock import SystemClock
from glet.config.cluster import ClusterConfig
from glet.config.security import SecurityConfig
from glet.errors import ConfigError, UnavailableError
from glet.native import core
from glet.serve.up import LocalCluster
from glet.serve.zmq_gates import cluster_gate
from glet.wire.channel import DealerChannel, RouterChannel
from glet.wire.keys import KeyPair, new_pair, read_pair
from glet.wire.messages import VERSION, BackendState, BackendToFrontend, Hello
from glet.wire.zmq_path import libzmq_path

Command = Callable[..., "subprocess.CompletedProcess[str]"]
pytestmark = pytest.mark.slow

X = np.arange(4, dtype=np.float32)
# The marker as a tensor's bytes: what a listener on the network would look for.
MARKER = np.frombuffer(b"in-the-clear-16b", dtype=np.float32)
SHORT_S = 1.5


class Keys:
    """Pairs in files: the cluster's, one that may come in, one that may not."""

    def __init__(self, folder: Path) -> None:
        self.clients = folder / "clients"
        self.clients.mkdir()
        self.cluster, self.cluster_public = new_pair(folder, "cluster")
        self.known, _ = new_pair(self.clients, "known")
        self.stranger, self.stranger_public = new_pair(folder, "stranger")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def started(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    """Frontend, controller and two backends, each on an address of its own, all over tcp."""
    security = f'server_key = "{keys.cluster}"\nclient_keys = "{keys.clients}"'
    with start_daemons(tmp_path_factory.mktemp("hosts"), security) as made:
        yield made


def known(started: Started, keys: Keys, address: str = "", **changes: Any) -> Client:
    given = {"server_key": keys.cluster_public, "client_key": keys.known, **changes}
    return Client(address or started.frontend, **given)


def test_with_keys_both_hosts_serve(started: Started, keys: Keys) -> None:
    with known(started, keys) as client:
        for model in ("near", "far"):
            assert np.array_equal(client.infer(model, {"x": X}, deadline_ms=60_000), X * 2)
        wait_for(lambda: client.stats()["controller"]["state"] == "running")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"server_key": "", "client_key": ""}, "expects CURVE: give server_key"),
        ({"client_key": ""}, "does not let this client's key in"),
        ({"server_key": "stranger"}, "is server_key its public key"),
    ],
)
def test_without_the_right_keys_there_is_no_answer_but_a_reason(
    started: Started, keys: Keys, changes: dict[str, str], says: str
) -> None:
    given: dict[str, Any] = dict(changes)
    if given.get("server_key") == "stranger":
        given["server_key"] = keys.stranger_public
    with known(started, keys, timeout_s=SHORT_S, **given) as client:
        # The first may end before libzmq has said why.
        wait_for(lambda: says in why_not(client))
    with known(started, keys) as client:
        assert np.array_equal(client.infer("near", {"x": X}, deadline_ms=60_000), X * 2)


def test_a_key_in_the_folder_is_let_in_and_one_that_left_is_not(
    started: Started, keys: Keys
) -> None:
    copy = keys.clients / "stranger.pub"
    with known(started, keys, timeout_s=SHORT_S, client_key=keys.stranger) as client:
        with pytest.raises(UnavailableError):
            client.models()
        copy.write_bytes(keys.stranger_public.read_bytes())
        wait_for(lambda: answers(client))
    copy.unlink()

    def is_out() -> bool:
        with known(started, keys, timeout_s=SHORT_S, client_key=keys.stranger) as again:
            return not answers(again)

    wait_for(is_out)
    with known(started, keys) as client:
        assert answers(client)


def test_a_file_in_the_folder_that_is_no_key_is_left_out(started: Started, keys: Keys) -> None:
    bad = keys.clients / "bad.pub"
    bad.write_text("nonsense")
    try:
        wait_for(lambda: "bad.pub" in started.said("frontend"))
        with known(started, keys) as client:
            assert answers(client)
    finally:
        bad.unlink()


@pytest.mark.parametrize("who", ["known", "stranger", "cluster", "plain"])
def test_internal_sockets_let_in_the_cluster_alone(started: Started, keys: Keys, who: str) -> None:
    """A backend's control, the controller, and executors' data sockets of both hosts."""
    public = read_pair(keys.cluster).public
    pair = read_pair(getattr(keys, who)) if who != "plain" else None
    endpoints = started.internal()
    assert len(endpoints) == 5
    for endpoint in endpoints:
        assert succeeds(endpoint, pair, public) is (who == "cluster"), endpoint


def test_a_user_cannot_steer_a_backend(started: Started, keys: Keys) -> None:
    """Not even by the messages that its frontend would send."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def states(pair: KeyPair) -> bool:
        """Whether the backend shows its state. The channel's keys are the cluster's and its own."""
        channel: DealerChannel[BackendToFrontend] = DealerChannel(
            context,
            started.control,
            BackendToFrontend,
            Hello(version=VERSION, role="frontend", name="me"),
            pair,
        )
        try:
            if not channel.socket.poll(int(SHORT_S * 1000)):
                return False
            return any(isinstance(message, Hello | BackendState) for message in channel.receive())
        finally:
            channel.close()

    try:
        wait_for(lambda: states(read_pair(keys.cluster)))
        mine = KeyPair(read_pair(keys.cluster).public, read_pair(keys.known).secret)
        assert not states(mine)
        assert not states(read_pair(keys.known))
    finally:
        context.destroy(linger=0)


def test_load_and_async_clients_take_keys(started: Started, keys: Keys, glet: Command) -> None:
    options = ("--server-key", str(keys.cluster_public), "--client-key", str(keys.known))
    done = glet("load", started.frontend, "--model", "near=20", "--seconds", "1", *options)
    assert done.returncode == 0, done.stderr

    async def ask() -> Any:
        async with AsyncClient(
            started.frontend, server_key=options[1], client_key=options[3]
        ) as client:
            return await client.infer("far", {"x": X}, deadline_ms=60_000)

    assert np.array_equal(asyncio.run(ask()), X * 2)
    refused = glet("models", "cost", started.frontend, "--server-key", options[1])
    assert refused.returncode == 1
    assert "does not let this client's key in" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1


def test_no_payload_is_on_the_wire_in_the_clear(started: Started, keys: Keys) -> None:
    with recorder(started.frontend) as (address, seen), known(started, keys, address) as client:
        answer = client.infer("near", {"x": MARKER}, deadline_ms=60_000)
        assert np.array_equal(answer, MARKER * 2)
        assert len(seen) > 500
        assert MARKER.tobytes() not in seen
        assert b"near" not in seen


def test_the_recorder_finds_what_is_sent_plainly(tmp_path: Path) -> None:
    with (
        start_daemons(tmp_path, "") as plain,
        recorder(plain.frontend) as (address, seen),
        Client(address, server_key="") as client,
    ):
        client.infer("near", {"x": MARKER}, deadline_ms=60_000)
        assert MARKER.tobytes() in seen


def test_a_daemon_that_was_refused_comes_in_once_it_may(keys: Keys) -> None:
    """libzmq gives up after a refusal; channels do not."""
    pair = read_pair(keys.cluster)
    hello = Hello(version=VERSION, role="backend")
    with zmq.Context() as context:
        gate = cluster_gate(context.underlying, pair)
        assert gate is not None
        gate.allow(set())
        router: RouterChannel[Hello] = RouterChannel(
            context, "tcp://127.0.0.1:*", Hello, hello, pair
        )
        dealer: DealerChannel[Hello] = DealerChannel(context, router.endpoint, Hello, hello, pair)
        try:
            wait_for(gate.take_refused)
            gate.allow({z85.decode(pair.public)})

            def hears() -> bool:
                dealer.greet()
                router.receive()
                return bool(dealer.receive())

            wait_for(hears)
        finally:
            dealer.close()
            router.close()
            gate.close()


def test_no_handshake_waits_for_the_next_one() -> None:
    public, secret = zmq.curve_keypair()
    with zmq.Context() as daemon, zmq.Context() as clients:
        gate = core.ZapGate(libzmq_path(), daemon.underlying)
        gate.allow({z85.decode(public)})
        router = daemon.socket(zmq.ROUTER)
        router.curve_server, router.zap_domain = True, b"glet"
        router.curve_publickey, router.curve_secretkey = public, secret
        router.bind("tcp://127.0.0.1:*")
        endpoint = router.getsockopt_string(zmq.LAST_ENDPOINT)
        try:
            for _ in range(500):
                peers = [clients.socket(zmq.DEALER) for _ in range(3)]
                for peer in peers:
                    peer.curve_publickey, peer.curve_secretkey = public, secret
                    peer.curve_serverkey = public
                    peer.connect(endpoint)
                    peer.send(b"here")
                for _ in peers:
                    # libzmq gives a handshake up after 30 s.
                    assert router.poll(25_000)
                    router.recv_multipart()
                for peer in peers:
                    peer.close(linger=0)
        finally:
            router.close(linger=0)
            gate.close()


def test_a_context_has_one_gate_which_ends_with_it(keys: Keys) -> None:
    pair = read_pair(keys.cluster)
    loop = core.FrontendLoop(libzmq_path(), pair, True)
    gate = core.ZapGate(libzmq_path(), loop.zmq_context())
    with pytest.raises(ConfigError, match=r"inproc://zeromq\.zap"):
        core.ZapGate(libzmq_path(), loop.zmq_context())
    loop.close()
    del loop  # waits for every socket of the context
    gate.close()
    gate.close()


def test_two_frontends_serve_with_the_same_keys(started: Started, keys: Keys) -> None:
    address = f"tcp://127.0.0.1:{free_ports(1)[0]}"
    options = ("--no-controller", "--listen", address)
    started.start("second", "glet.cli.frontend", *options)
    with known(started, keys, address, timeout_s=5.0) as client:
        wait_for(lambda: answers(client) and client.models()["far"]["state"] == "serving")
        assert np.array_equal(client.infer("far", {"x": X}, deadline_ms=60_000), X * 2)
        wait_for(lambda: client.stats()["controller"]["state"] == "running")


def test_up_serves_with_keys_and_writes_down_no_secret(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    write_doubles(tmp_path / "models", "near", "far")
    security = SecurityConfig(server_key=str(keys.cluster), client_keys=str(keys.clients))
    config = ClusterConfig(
        listen="tcp://0.0.0.0:*",
        models=str(tmp_path / "models"),
        partition="cpu",
        security=security,
    )
    pair = read_pair(keys.cluster)
    with LocalCluster(config, SystemClock()) as cluster:
        address = cluster.endpoint.replace("0.0.0.0", "127.0.0.1")
        with Client(address, server_key=pair.public, client_key=keys.known) as client:
            assert np.array_equal(client.infer("near", {"x": X}, deadline_ms=60_000), X * 2)
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert any(path.name == "cluster.json" for path in files)
        assert not any(pair.secret.encode() in path.read_bytes() for path in files)
        for pid in cluster.pids().values():
            for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
                assert pair.secret not in " ".join(process.cmdline())


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('server_key = "none.key"', "none.key: cannot be read"),
        ('server_key = "open.key"', "chmod 600"),
        ('server_key = "good.key"\nclient_keys = "none"', "client_keys"),
        ("", "glet keys new"),
    ],
)
def test_wrong_keys_are_said_before_anything_starts(
    glet: Command, tmp_path: Path, line: str, says: str
) -> None:
    write_doubles(tmp_path / "models", "near", "far")
    new_pair(tmp_path, "good")
    new_pair(tmp_path, "open")[0].chmod(0o644)
    listen = 'listen = "tcp://0.0.0.0:0"\npartition = "cpu"\n'
    (tmp_path / "cluster.toml").write_text(f"{listen}[security]\n{line}\n")
    done = glet("up", "cluster.toml")
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def why_not(client: Client) -> str:
    with pytest.raises(UnavailableError) as caught:
        client.models()
    return str(caught.value)


def answers(client: Client) -> bool:
    try:
        return bool(client.models())
    except UnavailableError:
        return False


def succeeds(endpoint: str, pair: KeyPair | None, server_public: str) -> bool:
    """Whether a handshake with it comes to its end."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        if pair is not None:
            dealer.curve_serverkey = server_public.encode()
            dealer.curve_publickey, dealer.curve_secretkey = (text.encode() for text in pair)
        events = dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED)
        try:
            dealer.connect(endpoint)
            assert events.poll(60_000), f"nobody at {endpoint}"
            event = int.from_bytes(events.recv_multipart()[0][:2], "little")
            return event == int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        finally:
            dealer.disable_monitor()
            events.close()


@contextmanager
def recorder(endpoint: str) -> Iterator[tuple[str, bytearray]]:
    """A proxy before an endpoint that keeps all bytes both ways; its own endpoint."""
    host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
    seen = bytearray()
    pairs: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                seen.extend(data)
                sink.sendall(data)
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                one = listener.accept()[0]
            except OSError:
                return
            other = socket.create_connection((host, int(port)))
            pairs.extend((one, other))
            for ends in ((one, other), (other, one)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for each in pairs:
            with each:
                each.close()
