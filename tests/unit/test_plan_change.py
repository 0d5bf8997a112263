"""What a frontend keeps and tells of the controller's rounds."""

import msgspec
import zmq
from waiting import wait_for

from glet.clock import ManualClock
from glet.serve.control_link import ControlLink
from glet.wire.channel import RouterChannel
from glet.wire.control_messages import Observed, RoundDone
from glet.wire.messages import VERSION, FrontendToController, Hello

PLAN = {"gpulets": []}


def record(number: int, *kinds: str, errors: tuple[str, ...] = ()) -> bytes:
    body = {
        "number": number,
        "trigger": "model lenet appeared" if "load" in kinds else "epoch",
        "plan": None if errors else PLAN,
        "steps": [{"kind": kind, "device": 0} for kind in kinds],
        "errors": errors,
    }
    return msgspec.json.encode(body)


def test_other_rates_are_no_news_and_only_the_last_are_kept(tmp_path: object) -> None:
    endpoint = f"ipc://{tmp_path}/c"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    hello = Hello(version=VERSION, role="controller")
    controller = RouterChannel(context, endpoint, FrontendToController, hello)
    link = ControlLink(context, endpoint, "f", None, ManualClock())
    rounds = [("switch",), ("switch",), ("load", "switch"), ("switch",), ("resize",)]
    heard = []
    try:
        wait_for(lambda: (list(controller.receive()), controller.peers)[1])
        (peer,) = controller.peers
        for number, kinds in enumerate(rounds, start=1):
            controller.send(peer, RoundDone(round=number, record=record(number, *kinds)))
        controller.send(peer, RoundDone(round=6, record=record(6, errors=("it broke",))))

        def all_came() -> bool:
            heard.extend(link.receive()[1])
            return len(heard) == 6

        wait_for(all_came)
        assert [change.number for change in heard if change.is_news] == [3, 5, 6]
        rows = link.body()["changes"]
        assert [(row["round"], row["reorganises"]) for row in rows] == [
            (2, False), (3, True), (4, False), (5, True), (6, False),
        ]  # fmt: skip
        assert link.changed == {
            ("epoch", False): 3, ("model_appeared", True): 1, ("epoch", True): 1,
        }  # fmt: skip
        assert link.failed_rounds == 1
    finally:
        link.channel.close()
        controller.close()
        context.term()


def test_what_is_no_json_is_no_observation_and_no_round(tmp_path: object) -> None:
    endpoint = f"ipc://{tmp_path}/c"
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    hello = Hello(version=VERSION, role="controller")
    controller = RouterChannel(context, endpoint, FrontendToController, hello)
    link = ControlLink(context, endpoint, "f", None, ManualClock())
    try:
        wait_for(lambda: (list(controller.receive()), controller.peers)[1])
        (peer,) = controller.peers
        for wrong in (b"{", b'"\xff"', b"[" * 100_000):
            controller.send(peer, RoundDone(round=1, record=wrong))
            controller.send(peer, Observed(mode=str(len(wrong)), observation=wrong))
            mode = str(len(wrong))
            wait_for(lambda mode=mode: (link.receive(), link.status()["mode"] == mode)[1])
            assert link.body()["observation"] is None
            assert link.body()["changes"] == []
    finally:
        link.channel.close()
        controller.close()
        context.term()
