"""Client, frontend and executor in one process: strings there and back, requests taken back."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from waiting import wait_for

import glet
from glet.config.model import ModelConfig
from glet.errors import InvalidInputError, ModelFailedError, UnavailableError
from glet.native import core
from glet.serve.model_loader import native_signature
from glet.types.model import TensorSpec
from glet.wire.zmq_path import libzmq_path

FAR_MS = 60_000.0


def texts(name: str, max_bytes: int) -> TensorSpec:
    return TensorSpec(name=name, dtype="bytes", shape=(2,), max_bytes=max_bytes)


UPPER = ModelConfig(
    slo_ms=FAR_MS, max_batch=8, input=(texts("text", 3000),), output=(texts("upper", 3000),)
)


def upper(text: np.ndarray) -> np.ndarray:
    """Half of what it returns is bytes, half str."""
    rows = [[first.upper(), second.decode().upper()] for first, second in text]
    return np.array(rows, dtype=object)


class Hold:
    """A model that runs one request at a time and stays in the first until it is let go."""

    def __init__(self) -> None:
        self.entered, self.let_go = threading.Event(), threading.Event()
        self.seen: list[float] = []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.seen += x.ravel().tolist()
        self.entered.set()
        self.let_go.wait(60)
        return x


@pytest.fixture
def rig() -> Iterator[SimpleNamespace]:
    """`upper` takes strings; `hold` waits, and at most four requests wait for it."""
    hold = Hold()
    number = core.TensorSpec("x", "float32", [1])
    number_signature = core.Signature([number], [number])
    with core.Engine() as engine:
        for gpulet in (1, 2):
            engine.add_gpulet(gpulet, "profiled")
        table = core.LatencyTable([(1, 1000), (8, 8000)])
        batches = core.ModelPlan(table, core.QueueLimits(max_batch=8))
        singles = core.ModelPlan(table, core.QueueLimits(max_batch=1, capacity=4))
        strings = native_signature(UPPER.signature)
        engine.load_python(1, 0, upper, strings, 8, batches)
        engine.load_python(2, 1, hold, number_signature, 1, singles)
        executor = core.ExecutorLoop(libzmq_path(), engine)
        frontend = core.FrontendLoop(libzmq_path())
        try:
            frontend.add_executor(0, executor.bind("tcp://127.0.0.1:*"))
            frontend.set_model("upper", strings, FAR_MS)
            frontend.set_model("hold", number_signature, FAR_MS)
            frontend.set_routes("upper", [(0, 1, 0, 1.0)])
            frontend.set_routes("hold", [(0, 2, 1, 1.0)])
            address = frontend.bind("tcp://127.0.0.1:*")
            executor.start()
            frontend.start()
            yield SimpleNamespace(
                address=address, hold=hold, engine=engine, frontend=frontend, executor=executor
            )
        finally:
            hold.let_go.set()
            frontend.close()
            executor.close()


def strings(*rows: Any) -> dict[str, np.ndarray]:
    return {"text": np.array(rows, dtype=object)}


def test_strings_go_there_and_come_back(rig: SimpleNamespace) -> None:
    long = b"x" * 3000
    with glet.Client(rig.address) as client:
        out = client.infer("upper", strings(b"a\0b\0", "grün"))
        assert out.dtype == object
        assert out.tolist() == [b"A\0B\0", "GRÜN".encode()]
        assert client.infer("upper", strings(long, "")).tolist() == [long.upper(), b""]
        with pytest.raises(InvalidInputError, match="of 3001 bytes; at most 3000 are valid"):
            client.infer("upper", strings(long + b"x", ""))
        with pytest.raises(ModelFailedError, match="utf-8"):
            client.infer("upper", strings(b"", b"\xff"))
        assert client.infer("upper", strings("a", "b")).tolist() == [b"A", b"B"]


def test_many_strings_at_once(rig: SimpleNamespace) -> None:
    async def ask() -> list[Any]:
        async with glet.AsyncClient(rig.address) as client:
            rows = [strings("a" * i, str(i)) for i in range(300)]
            return await asyncio.gather(*(client.infer("upper", row) for row in rows))

    for i, out in enumerate(asyncio.run(ask())):
        assert out.tolist() == [b"A" * i, str(i).encode()]


def waiting(rig: SimpleNamespace) -> int:
    return sum(stats.waiting for stats in rig.engine.stats())


def number(value: int) -> dict[str, np.ndarray]:
    return {"x": np.array([value], np.float32)}


def test_cancelled_tasks_free_the_queue(rig: SimpleNamespace) -> None:

    async def ask() -> list[Any]:
        async with glet.AsyncClient(rig.address) as client:

            def start(value: int) -> asyncio.Task[Any]:
                return asyncio.create_task(client.infer("hold", number(value)))

            running = start(0)
            await asyncio.to_thread(rig.hold.entered.wait, 60)
            queued = [start(value) for value in range(1, 5)]
            await asyncio.to_thread(wait_for, lambda: waiting(rig) == 4)
            for task in (running, *queued[:3]):
                task.cancel()
            await asyncio.to_thread(wait_for, lambda: waiting(rig) == 1)
            later = [start(value) for value in range(5, 8)]  # full without the three that left
            await asyncio.to_thread(wait_for, lambda: waiting(rig) == 4)
            rig.hold.let_go.set()
            return await asyncio.gather(running, *queued, *later, return_exceptions=True)

    running, *others = asyncio.run(ask())
    assert isinstance(running, asyncio.CancelledError)
    assert [isinstance(each, asyncio.CancelledError) for each in others] == [True] * 3 + [False] * 4
    assert [float(each[0]) for each in others[3:]] == [4.0, 5.0, 6.0, 7.0]
    assert sorted(rig.hold.seen) == [0.0, 4.0, 5.0, 6.0, 7.0]
    wait_for(lambda: rig.frontend.outstanding() == 0)
    counts = rig.frontend.stats()["hold"]
    # The one that ran already was answered as always.
    assert (counts["received"], counts["ok"], counts["cancelled"]) == (8, 5, 3)
    assert sum(stats.cancelled for stats in rig.engine.stats()) == 3


@pytest.fixture
def heard_sigint() -> Iterator[None]:
    """What a shell starts in the background is deaf to SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heard_sigint")
def test_ctrl_c_takes_the_request_back(rig: SimpleNamespace) -> None:
    def interrupt() -> None:
        wait_for(lambda: waiting(rig) == 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with glet.Client(rig.address) as client, glet.Client(rig.address) as other:
        held = threading.Thread(target=other.infer, args=("hold", number(1)))
        held.start()
        assert rig.hold.entered.wait(60)
        interrupting = threading.Thread(target=interrupt)
        interrupting.start()
        with pytest.raises(KeyboardInterrupt):
            client.infer("hold", number(2))
        interrupting.join()
        wait_for(lambda: waiting(rig) == 0)
        rig.hold.let_go.set()
        held.join()
    assert rig.hold.seen == [1.0]
    assert rig.frontend.stats()["hold"]["cancelled"] == 1


def test_a_client_that_gives_up_waiting_takes_its_request_back(rig: SimpleNamespace) -> None:
    with glet.Client(rig.address) as other, glet.Client(rig.address, timeout_s=1.0) as client:
        held = threading.Thread(target=other.infer, args=("hold", number(1)))
        held.start()
        assert rig.hold.entered.wait(60)
        with pytest.raises(UnavailableError, match="in the time given"):
            client.infer("hold", number(2))
        wait_for(lambda: rig.frontend.stats()["hold"]["cancelled"] == 1)
        assert waiting(rig) == 0
        rig.hold.let_go.set()
        held.join()
    assert rig.hold.seen == [1.0]
    assert rig.frontend.stats()["hold"]["refused_ns"] > 0


def test_any_order_of_requests_and_cancels_adds_up(rig: SimpleNamespace) -> None:
    rig.hold.let_go.set()
    rng = np.random.default_rng(3)

    async def ask() -> list[Any]:
        async with glet.AsyncClient(rig.address) as client:
            tasks = []
            for value in range(400):
                model = "hold" if value % 2 else "upper"
                inputs = number(value) if value % 2 else strings("a", "b")
                tasks.append(asyncio.create_task(client.infer(model, inputs)))
                if rng.random() < 0.5:
                    await asyncio.sleep(0)
                if rng.random() < 0.5:
                    tasks[int(rng.integers(len(tasks)))].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

    assert len(asyncio.run(ask())) == 400
    wait_for(lambda: rig.frontend.outstanding() == 0)
    for counts in rig.frontend.stats().values():
        ended = sum(counts[kind] for kind in ("ok", "full", "late", "cancelled"))
        assert ended == counts["received"]
    assert rig.executor.outstanding() == 0
