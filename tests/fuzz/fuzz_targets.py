"""What is attacked: one burst of each kind of input against a running site."""

from collections.abc import Callable

import fuzz_grpc
import fuzz_http
import fuzz_wire
from fuzz_dice import Dice
from fuzz_site import Site

Burst = Callable[[Site, Dice], None]


def http(site: Site, dice: Dice) -> None:
    """A connection of requests over HTTP/1.1, their JSON among it."""
    site.tcp("http", dice, fuzz_http.connection(dice))


def grpc(site: Site, dice: Dice) -> None:
    """A connection of HTTP/2 frames, gRPC messages and protocol buffers."""
    site.tcp("grpc", dice, fuzz_grpc.connection(dice))


def client(site: Site, dice: Dice) -> None:
    """Messages to the frontend's own port, mostly behind a hello."""
    messages = [fuzz_wire.client_message(dice) for _ in range(dice.number(1, 8))]
    greeting = [] if dice.once_in(8) else [fuzz_wire.HELLO]
    site.zmq(site.cluster.endpoint, greeting + messages)


def data(site: Site, dice: Dice) -> None:
    """Structs to the data socket of the executor, beside its frontend."""
    messages = [fuzz_wire.data_message(dice) for _ in range(dice.number(1, 8))]
    for endpoint in site.endpoints("e[0-9]*"):
        site.zmq(endpoint, [fuzz_wire.DATA_HELLO, *messages])


def control(site: Site, dice: Dice) -> None:
    """Control messages to the backend, the executors' socket of the backend, and the controller.

    Without a hello all of it is decoded and refused; behind one: fuzz_inside.py.
    """
    sockets = {"backend": "control", "executors": "x", "controller": "controller/control"}
    channel = dice.pick(tuple(sockets))
    other = channel if not dice.once_in(4) else dice.pick(tuple(fuzz_wire.CHANNELS))
    messages = [fuzz_wire.control_message(dice, other) for _ in range(dice.number(1, 6))]
    for endpoint in site.endpoints(sockets[channel]):
        site.zmq(endpoint, messages)


TARGETS: dict[str, Burst] = {
    "http": http, "grpc": grpc, "client": client, "data": data, "control": control,
}  # fmt: skip
