"""Handshakes of CURVE that do not come to their end: half, damaged, of others, or stalled."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import zmq
from fuzz_dice import Dice, damaged
from fuzz_site import LIMIT_S, Site, site
from two_models import X

from glet.config.security import SecurityConfig
from glet.wire.keys import KeyPair, new_pair, read_pair, read_public

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01"
MECHANISMS = (b"CURVE", b"CURVE", b"CURVE", b"NULL", b"PLAIN", b"GSSAPI", b"", b"\xff" * 20)
COMMANDS = (b"HELLO", b"HELLO", b"INITIATE", b"WELCOME", b"READY", b"ERROR", b"MESSAGE", b"PING")
STALLED = 100
# A client's whole handshake is shorter.
MOST_BYTES = 700


class Locked(NamedTuple):
    """A site that takes CURVE only, and the keys that come in."""

    site: Site
    own: Path
    server: Path

    def check(self) -> None:
        """Who has the keys is served; nothing was started again."""
        with self.site.client() as client:
            got = client.infer("b", X, deadline_ms=20_000.0)
        np.testing.assert_array_equal(got, X * 2)
        assert self.site.same_processes()

    @property
    def at(self) -> tuple[str, int]:
        host, _, port = self.site.cluster.endpoint.removeprefix("tcp://").rpartition(":")
        return host, int(port)


@contextmanager
def locked(folder: Path) -> Iterator[Locked]:
    """Runs until it is left; keys are put into `folder`."""
    clients = folder / "clients"
    clients.mkdir()
    secret, public = new_pair(folder, "cluster")
    own, _ = new_pair(clients, "known")
    security = SecurityConfig(server_key=str(secret), client_keys=str(clients))
    keys = {"server_key": str(public), "client_key": str(own)}
    with site(grpc=False, client_keys=keys, security=security) as made:
        yield Locked(made, own, public)


def burst(made: Locked, dice: Dice) -> None:
    """One connection of some kind."""
    match dice.number(0, 3):
        case 0 | 1:
            by_hand(made, dice)
        case 2:
            with_wrong_keys(made)
        case _:
            cut_off(made, dice)


def by_hand(made: Locked, dice: Dice) -> None:
    """Bytes that begin as ZMTP does."""
    data = (
        GREETING + dice.pick(MECHANISMS).ljust(20, b"\0") + bytes([dice.number(0, 1)]) + bytes(31)
    )
    for _ in range(dice.number(0, 4)):
        name = dice.pick(COMMANDS)
        size = dice.pick((194, 194, 0, 8, 250, 300, 3000))
        body = bytes([len(name)]) + name + (dice.octets(64) + bytes(size))[:size]
        is_long = len(body) > 255 or dice.once_in(8)
        length = len(body).to_bytes(8 if is_long else 1, "big")
        if dice.once_in(10):
            length = dice.pick((b"\xff" * 8, b"\x7f" + b"\xff" * 7, bytes(8)))
            is_long = True
        data += bytes([dice.pick((4, 4, 4, 0, 1, 0x80)) | 2 * is_long]) + length + body
    if dice.once_in(3):
        data = damaged(dice, data)
    with socket.create_connection(made.at, LIMIT_S) as peer, suppress(OSError):
        peer.sendall(data)
        peer.settimeout(0.02)
        while peer.recv(4096):
            pass


def with_wrong_keys(made: Locked) -> None:
    """A handshake by the book of somebody who is not let in, or who thinks of another server."""
    public, secret = zmq.curve_keypair()
    with zmq.Context() as context, context.socket(zmq.DEALER) as peer:
        peer.linger = 0
        _unlock(peer, KeyPair(public.decode(), secret.decode()), read_public(made.server))
        peer.connect(made.site.cluster.endpoint)
        peer.send(b"hello", zmq.DONTWAIT)
        peer.poll(20)


def cut_off(made: Locked, dice: Dice) -> None:
    """The handshake of one who may come in, damaged or ended on its way."""
    most, flips = dice.number(1, MOST_BYTES), dice.once_in(2)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as peer,
    ):
        peer.linger = 0
        _unlock(peer, read_pair(made.own), read_public(made.server))
        peer.connect(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        near, _ = listener.accept()
        with near, socket.create_connection(made.at, LIMIT_S) as far:
            back = threading.Thread(target=_pump, args=(far, near), daemon=True)
            back.start()
            _pump(near, far, most, flips)
            far.shutdown(socket.SHUT_RDWR)
            back.join(LIMIT_S)


def _pump(
    source: socket.socket, sink: socket.socket, most: int = 1 << 30, flips: bool = False
) -> None:
    source.settimeout(0.05)
    with suppress(OSError):
        while most > 0 and (data := source.recv(min(most, 4096))):
            most -= len(data)
            if most <= 0 and flips:
                data = data[:-1] + bytes([data[-1] ^ 0x10])
                most = 4096
                flips = False
            sink.sendall(data)


def _unlock(peer: "zmq.Socket[bytes]", pair: KeyPair, server: str) -> None:
    peer.curve_serverkey = server.encode()
    peer.curve_publickey, peer.curve_secretkey = pair.public.encode(), pair.secret.encode()


@contextmanager
def stalled(made: Locked, dice: Dice) -> Iterator[None]:
    """Many connections at once that say a part of a greeting, and then nothing."""
    peers = [socket.create_connection(made.at, LIMIT_S) for _ in range(STALLED)]
    try:
        for peer in peers:
            whole = GREETING + b"CURVE".ljust(20, b"\0") + bytes(32)
            peer.sendall(whole[: dice.number(0, len(whole))])
        yield
    finally:
        for peer in peers:
            peer.close()
