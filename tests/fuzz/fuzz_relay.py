"""Stands between two daemons: passes on what they say, and says to either what nobody said."""

import queue
import threading
from collections import deque
from contextlib import suppress
from typing import Any

import msgspec
import zmq

KEPT = 20
POLL_MS = 5
MOST_PEERS = 4


def _send(socket: "zmq.Socket[bytes]", frames: list[bytes]) -> None:
    """Nothing where nobody reads."""
    with suppress(zmq.Again):
        socket.send_multipart(frames, flags=zmq.DONTWAIT)


class Relay:
    """Between who connects and who listens: from `listen` to `connect`. A thread of its own."""

    def __init__(self, listen: str, connect: str) -> None:
        self._connect = connect
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._front = self._context.socket(zmq.ROUTER)
        self._front.linger = 0
        self._front.bind(listen)
        self.endpoint = self._front.getsockopt_string(zmq.LAST_ENDPOINT)
        self._poller = zmq.Poller()
        self._poller.register(self._front, zmq.POLLIN)
        # Connected to who listens, one for each who connects; the one that spoke last is the last.
        self._backs: dict[bytes, zmq.Socket[bytes]] = {}
        self._to_say: queue.SimpleQueue[tuple[bool, bytes]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._last: dict[tuple[bool, str], Any] = {}
        self._before: dict[bool, deque[bytes]] = {way: deque(maxlen=KEPT) for way in (True, False)}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for socket in (self._front, *self._backs.values()):
            socket.close(linger=0)
        self._context.term()

    def say(self, to_listener: bool, data: bytes) -> None:
        """Among what passes, to who listens or to who connected last."""
        self._to_say.put((to_listener, data))

    def last(self, to_listener: bool) -> dict[str, Any]:
        """The last message of each kind that passed that way, as plain objects, by its `op`."""
        with self._lock:
            return {op: message for (way, op), message in self._last.items() if way == to_listener}

    def before(self, to_listener: bool) -> list[bytes]:
        """The last messages that passed that way."""
        with self._lock:
            return list(self._before[to_listener])

    def forget(self, to_listener: bool, op: str) -> None:
        """Of that kind last() has none until another one passes."""
        with self._lock:
            self._last.pop((to_listener, op), None)

    def _run(self) -> None:
        while not self._stop.is_set():
            for socket, _ in self._poller.poll(POLL_MS):
                self._pass_on(socket)
            while not self._to_say.empty():
                self._say(*self._to_say.get())

    def _pass_on(self, socket: "zmq.Socket[bytes]") -> None:
        frames = socket.recv_multipart()
        if socket is self._front:
            peer, *frames = frames
            _send(self._back(peer), frames)
            self._note(True, frames[0])
            return
        peer = next(peer for peer, back in self._backs.items() if back is socket)
        _send(self._front, [peer, *frames])
        self._note(False, frames[0])

    def _say(self, to_listener: bool, data: bytes) -> None:
        if not self._backs:
            return
        peer = next(reversed(self._backs))
        if to_listener:
            _send(self._backs[peer], [data])
        else:
            _send(self._front, [peer, data])

    def _back(self, peer: bytes) -> "zmq.Socket[bytes]":
        back = self._backs.pop(peer, None)
        if back is None:
            back = self._context.socket(zmq.DEALER)
            back.linger = 0
            back.connect(self._connect)
            self._poller.register(back, zmq.POLLIN)
        self._backs[peer] = back
        while len(self._backs) > MOST_PEERS:
            old = self._backs.pop(next(iter(self._backs)))
            self._poller.unregister(old)
            old.close()
        return back

    def _note(self, to_listener: bool, data: bytes) -> None:
        message = msgspec.msgpack.decode(data)
        with self._lock:
            self._last[(to_listener, message["op"])] = message
            self._before[to_listener].append(data)
