"""Handshakes of a socket that connects: why they fail, and trying again."""

import logging
from contextlib import suppress

import zmq
from zmq.utils.monitor import recv_monitor_message

logger = logging.getLogger(__name__)

EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
REASONS: dict[int, str] = {
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "the peer ended it; is server_key the same?",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "only one of both has a server_key",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "the peer does not let our key in; is server_key the same?",
}


class Handshakes:
    """Of one socket, by its thread. Every reason is logged once until a handshake succeeds."""

    def __init__(self, socket: "zmq.Socket[bytes]", endpoint: str) -> None:
        """Before the socket connects."""
        self._socket, self._endpoint = socket, endpoint
        self._events = socket.get_monitor_socket(EVENTS)
        self._said: set[int] = set()

    def look(self) -> None:
        """Takes what happened. libzmq does not connect again after a refusal: it is told to."""
        is_refused = False
        with suppress(zmq.Again):
            while True:
                event = int(recv_monitor_message(self._events, zmq.NOBLOCK)["event"])
                if event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    self._said.clear()
                elif event not in self._said:
                    self._said.add(event)
                    logger.warning("no handshake with %s: %s", self._endpoint, REASONS[event])
                is_refused = event in (
                    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
                    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
                )
        if is_refused:
            with suppress(zmq.ZMQError):  # libzmq may have forgotten the endpoint
                self._socket.disconnect(self._endpoint)
            self._socket.connect(self._endpoint)

    def close(self) -> None:
        """Before the socket is closed."""
        self._socket.disable_monitor()
        self._events.close()
