"""The control plane's messages: they read back, and nothing else does any harm."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from waiting import wait_for

from glet.types.device import DeviceInfo
from glet.types.plan import GpuletPlan, ModelShare
from glet.wire.channel import DealerChannel, RouterChannel
from glet.wire.messages import (
    VERSION,
    ApplyPlan,
    BackendState,
    BackendToExecutor,
    BackendToFrontend,
    ControllerToFrontend,
    ExecutorToBackend,
    FrontendToBackend,
    GpuletState,
    Heartbeat,
    Hello,
    LoadedModel,
    Refused,
    RemoveGpulet,
    StepDone,
    Steps,
    StepsDone,
    UnloadModel,
)

CHANNELS = [FrontendToBackend, BackendToFrontend, BackendToExecutor, ExecutorToBackend]
UNLOAD = UnloadModel(step=1, gpulet=0, model=0, drain_ms=5.0)
REMOVE = RemoveGpulet(step=2, gpulet=0, drain_ms=5.0)
HELLO = Hello(version=VERSION, role="frontend", name="f")
PLAN = ApplyPlan(
    gpulets=(
        GpuletPlan(device=0, share_pct=40, models=(ModelShare(model="m", batch=4),)),
        GpuletPlan(device=0, share_pct=60),
    )
)
STATE = BackendState(
    seq=3,
    name="b",
    incarnation="x",
    number=0,
    device=DeviceInfo(name="b", kind="cpu", type="cpu", cores=(0, 1)),
    plan=PLAN.gpulets,
    gpulets=(
        GpuletState(
            gpulet=0,
            executor=0,
            share_pct=50,
            given_pct=50.0,
            state="ready",
            models=(
                LoadedModel(name="m", model=0, batch=4, state="ready", latency_ms=((1, 2.5),)),
            ),
        ),
    ),
)


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        (FrontendToBackend, HELLO),
        (FrontendToBackend, PLAN),
        (BackendToFrontend, STATE),
        (ExecutorToBackend, StepDone(step=1, latency_ms=((1, 0.5), (2, 0.75)))),
        (BackendToExecutor, Steps(steps=(UNLOAD, REMOVE))),
        (ExecutorToBackend, StepsDone(done=(StepDone(step=1), StepDone(step=2, error="no")))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_messages_read_back(channel: Any, message: Any) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=channel) == message


def test_the_op_is_the_name_in_snake_case() -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(PLAN))["op"] == "apply_plan"
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(STATE))["op"] == "backend_state"


def test_a_newer_peer_may_say_more() -> None:
    encoded = msgspec.msgpack.encode({"op": "heartbeat", "new": [1, 2]})
    assert msgspec.msgpack.decode(encoded, type=FrontendToBackend) == Heartbeat()


def test_steps_are_at_least_one() -> None:
    encoded = msgspec.msgpack.encode({"op": "steps", "steps": []})
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(encoded, type=BackendToExecutor)


class Pair:
    """A bound and a connected socket in one process."""

    def __init__(self, folder: Path) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        endpoint = f"ipc://{folder}/s"
        hello = Hello(version=VERSION, role="backend", name="b")
        self.router: RouterChannel[Any] = RouterChannel(
            self.context, endpoint, FrontendToBackend, hello
        )
        self.raw = self.context.socket(zmq.DEALER)
        self.raw.connect(endpoint)

    def exchange(self, *frames: bytes) -> list[Any]:
        """Sends one message; what the router received. Its answer waits in `raw`."""
        self.raw.send_multipart(frames)
        assert self.router.socket.poll(5000)
        return [message for _, message in self.router.receive()]

    def answer(self) -> Any:
        assert self.raw.poll(5000)
        return msgspec.msgpack.decode(self.raw.recv(), type=BackendToFrontend)

    def close(self) -> None:
        self.router.close()
        self.raw.close(linger=0)
        self.context.term()


def test_hello_comes_first_and_in_one_version(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    try:
        assert pair.exchange(msgspec.msgpack.encode(PLAN)) == []
        assert pair.answer().code == "hello_required"
        newer = msgspec.structs.replace(HELLO, version=VERSION + 1)
        assert pair.exchange(msgspec.msgpack.encode(newer)) == []
        assert pair.answer().code == "version"
        assert pair.exchange(msgspec.msgpack.encode(HELLO)) == [HELLO]
        assert isinstance(pair.answer(), Hello)
        assert pair.exchange(msgspec.msgpack.encode(PLAN)) == [PLAN]
    finally:
        pair.close()


def test_malformed_messages_are_counted_and_answered(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    try:
        pair.exchange(msgspec.msgpack.encode(HELLO))
        pair.answer()
        for frames in ([b"\xc1"], [b""], [b"a", b"b"], [msgspec.msgpack.encode({"op": "no"})]):
            assert pair.exchange(*frames) == []
            assert isinstance(pair.answer(), Refused)
        assert pair.router.malformed == 4
        assert pair.exchange(msgspec.msgpack.encode(PLAN)) == [PLAN]
    finally:
        pair.close()


def test_the_connecting_side_greets_again_when_asked(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    hello = Hello(version=VERSION, role="backend", name="b")
    router: RouterChannel[Any] = RouterChannel(
        context, f"ipc://{tmp_path}/s", FrontendToBackend, hello
    )
    dealer: DealerChannel[Any] = DealerChannel(
        context, f"ipc://{tmp_path}/s", BackendToFrontend, HELLO
    )
    try:
        assert router.socket.poll(5000)
        ((peer, greeting),) = router.receive()
        assert greeting == HELLO
        assert dealer.socket.poll(5000)
        assert dealer.receive() == [hello]
        router.forget(peer)
        dealer.send(PLAN)
        assert router.socket.poll(5000)
        assert router.receive() == []
        assert dealer.socket.poll(5000)
        assert dealer.receive() == []
        assert router.socket.poll(5000)
        assert router.receive() == [(peer, HELLO)]
    finally:
        router.close()
        dealer.close()
        context.term()


def test_one_malformed_message_makes_nobody_deaf(tmp_path: Path) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    endpoint = f"ipc://{tmp_path}/c"
    router = RouterChannel(context, endpoint, FrontendToBackend, HELLO)
    dealer = DealerChannel(context, endpoint, BackendToFrontend, HELLO)
    heard: list[Any] = []
    try:
        wait_for(router.receive)
        dealer.socket.send(b"nonsense")
        wait_for(lambda: (router.receive(), router.malformed)[1])
        (peer,) = router.peers
        router.send(peer, STATE)
        wait_for(lambda: (heard.extend(dealer.receive()), STATE in heard)[1])
        assert dealer.refused == ""
    finally:
        router.close()
        dealer.close()
        context.term()


@pytest.mark.parametrize("channel", CHANNELS, ids=range(len(CHANNELS)))
@given(data=st.binary(max_size=200))
def test_random_bytes_never_crash_the_decoder(channel: Any, data: bytes) -> None:
    try:
        msgspec.msgpack.decode(data, type=channel)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return


@given(position=st.integers(0, 10_000), value=st.integers(0, 255), length=st.integers(0, 10_000))
def test_damaged_states_never_crash_the_decoder(position: int, value: int, length: int) -> None:
    damaged = bytearray(msgspec.msgpack.encode(STATE))
    damaged[position % len(damaged)] = value
    try:
        msgspec.msgpack.decode(bytes(damaged[: length or None]), type=BackendToFrontend)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return


@pytest.mark.parametrize(
    ("message", "channel"),
    [
        ({"op": "step_done", "step": 1, "latency_ms": [[0, 1.0]]}, ExecutorToBackend),
        ({"op": "step_done", "step": 1, "latency_ms": [[1, 0.0]]}, ExecutorToBackend),
        ({"op": "step_done", "step": 1, "latency_ms": [[1, float("nan")]]}, ExecutorToBackend),
        ({"op": "step_done", "step": 1, "memory_mb": float("inf")}, ExecutorToBackend),
        ({"op": "state_seen", "seq": -1}, FrontendToBackend),
        ({"op": "remove_gpulet", "step": 1, "gpulet": 0, "drain_ms": -1.0}, BackendToExecutor),
        ({"op": "set_accept", "parts": {"m": float("nan")}}, ControllerToFrontend),
    ],
)
def test_numbers_that_cannot_be_are_refused(message: dict[str, Any], channel: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=channel)
