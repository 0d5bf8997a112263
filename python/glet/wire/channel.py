"""The sockets of the control plane. Each has one owner: the thread that polls it, which closes it.

Bytes that are no message never end a daemon: they are counted and answered with Refused.
"""

import logging
from typing import Any, Generic, TypeVar

import msgspec
import zmq

from glet.errors import ConfigError
from glet.wire.address import crosses_network
from glet.wire.handshakes import Handshakes
from glet.wire.keys import KeyPair
from glet.wire.message import Message
from glet.wire.messages import VERSION, Hello, Refused

logger = logging.getLogger(__name__)

M = TypeVar("M")

HIGH_WATER = 1000
MAX_MESSAGE_BYTES = 16 << 20
ZMTP_BEAT_MS = 1000
BURST = 100


def _open(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
    socket = context.socket(kind)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.SNDHWM, HIGH_WATER)
    socket.setsockopt(zmq.RCVHWM, HIGH_WATER)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_BYTES)
    socket.setsockopt(zmq.HEARTBEAT_IVL, ZMTP_BEAT_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * ZMTP_BEAT_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
    return socket


def _set_keys(socket: "zmq.Socket[bytes]", keys: KeyPair) -> None:
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())


def _send(socket: "zmq.Socket[bytes]", frames: list[bytes]) -> bool:
    """False when the peer is gone or does not read: it will learn from the next full state."""
    try:
        socket.send_multipart(frames, flags=zmq.DONTWAIT)
    except zmq.ZMQError as error:
        if error.errno in (zmq.EAGAIN, zmq.EHOSTUNREACH):
            return False
        raise
    return True


def _receive(socket: "zmq.Socket[bytes]") -> list[bytes] | None:
    try:
        return socket.recv_multipart(flags=zmq.DONTWAIT)
    except zmq.Again:
        return None


class RouterChannel(Generic[M]):
    """The bound side. Messages are returned only of peers that said hello in our version."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        incoming: Any,
        hello: Hello,
        keys: KeyPair | None = None,
    ) -> None:
        """`incoming` is the union of what peers may send. Raises ConfigError when in use.

        With `keys` it speaks CURVE over tcp, and nobody comes in whom no gate of the context lets.
        """
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(incoming)
        self._encoder = msgspec.msgpack.Encoder()
        self._hello = hello
        self.peers: dict[bytes, Hello] = {}
        self.malformed = 0
        self.socket = _open(context, zmq.ROUTER)
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if keys is not None and crosses_network(endpoint):
            self.socket.setsockopt(zmq.CURVE_SERVER, 1)
            _set_keys(self.socket, keys)
            self.socket.setsockopt(zmq.ZAP_DOMAIN, b"glet")
            self.socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        try:
            self.socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.socket.close()
            raise ConfigError(f"cannot bind {endpoint}: {error.strerror.lower()}") from error
        self.endpoint = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def receive(self) -> list[tuple[bytes, M]]:
        """What waits, with the identity of its sender; a peer's hello is answered and included."""
        received: list[tuple[bytes, M]] = []
        for _ in range(BURST):
            frames = _receive(self.socket)
            if frames is None:
                break
            message = self._admit(frames[0], frames[1:])
            if message is not None:
                received.append((frames[0], message))
        return received

    def send(self, peer: bytes, message: Message) -> bool:
        """False when the peer is gone."""
        return _send(self.socket, [peer, self._encoder.encode(message)])

    def send_all(self, message: Message) -> list[bytes]:
        """To every peer, encoded once; those that are gone."""
        frame = self._encoder.encode(message)
        return [peer for peer in self.peers if not _send(self.socket, [peer, frame])]

    def forget(self, peer: bytes) -> None:
        """The peer has to say hello again."""
        self.peers.pop(peer, None)

    def close(self) -> None:
        self.socket.close()

    def _admit(self, peer: bytes, frames: list[bytes]) -> M | None:
        try:
            message = self._decoder.decode(frames[0] if len(frames) == 1 else b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self.malformed += 1
            logger.warning("message refused count=%d reason=%s", self.malformed, error)
            self.send(peer, Refused(code="malformed", message=str(error)))
            return None
        if isinstance(message, Hello):
            if message.version != VERSION:
                text = f"speaks version {message.version}, {VERSION} is spoken here"
                self.send(peer, Refused(code="version", message=text))
                return None
            self.peers[peer] = message
            self.send(peer, self._hello)
        elif peer not in self.peers:
            self.send(peer, Refused(code="hello_required", message="say hello first"))
            return None
        return message


class DealerChannel(Generic[M]):
    """The connecting side. It says hello when opened, and again when the peer asks for it."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoint: str,
        incoming: Any,
        hello: Hello,
        keys: KeyPair | None = None,
    ) -> None:
        """`incoming` is the union of what the peer may send. Raises ConfigError.

        With `keys`, which the peer has to have too, it speaks CURVE over tcp.
        """
        self._decoder: msgspec.msgpack.Decoder[M] = msgspec.msgpack.Decoder(incoming)
        self._encoder = msgspec.msgpack.Encoder()
        self._hello = hello
        self.malformed = 0
        self.refused = ""
        # By the peer, what was logged last.
        self._told = ""
        self.socket = _open(context, zmq.DEALER)
        if keys is not None and crosses_network(endpoint):
            self.socket.setsockopt(zmq.CURVE_SERVERKEY, keys.public.encode())
            _set_keys(self.socket, keys)
        self._handshakes = Handshakes(self.socket, endpoint)
        try:
            self.socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ConfigError(
                f"cannot connect to {endpoint!r}: {error.strerror.lower()}; "
                "valid are tcp://HOST:PORT and ipc://PATH"
            ) from error
        self.greet()

    def greet(self) -> None:
        """Says hello; harmless when the peer knows us."""
        self._handshakes.look()
        self.send(self._hello)

    def receive(self) -> list[M]:
        """What waits. A peer of another version is never listened to; `refused` says why."""
        received: list[M] = []
        for _ in range(BURST):
            frames = _receive(self.socket)
            if frames is None:
                break
            try:
                message = self._decoder.decode(frames[0] if len(frames) == 1 else b"")
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                self.malformed += 1
                logger.warning("message refused count=%d reason=%s", self.malformed, error)
                continue
            if self._understood(message):
                received.append(message)
        return received

    def send(self, message: Message) -> bool:
        """False when nobody reads."""
        return _send(self.socket, [self._encoder.encode(message)])

    def close(self) -> None:
        self._handshakes.close()
        self.socket.close()

    def _understood(self, message: M) -> bool:
        if isinstance(message, Refused):
            if message.code == "hello_required":
                self.greet()
                return False
            if message.message != self._told:
                self._told = message.message
                logger.error("refused by peer code=%s: %s", message.code, message.message)
            if message.code == "version":
                self.refused = message.message
            return False
        if isinstance(message, Hello):
            self.refused = ""
            if message.version != VERSION:
                self.refused = f"speaks version {message.version}, {VERSION} is spoken here"
                logger.error("peer %s %s", message.role, self.refused)
        return not self.refused
