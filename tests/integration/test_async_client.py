"""AsyncClient against a frontend that the test plays."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import glet
from glet.errors import LateError, ModelNotFoundError, UnavailableError

X = np.arange(4, dtype=np.float32)
Fake = Callable[..., Any]


def hold(frontend: Any, client: bytes, header: dict[str, Any], tensors: list[bytes]) -> None:
    frontend.held.append((client, header, tensors))


def hold_then_reverse(count: int) -> Callable[..., None]:
    """Answers nothing until `count` requests are there, then all of them, the last first."""

    def on_infer(frontend: Any, *request: Any) -> None:
        hold(frontend, *request)
        if len(frontend.held) == count:
            while frontend.held:
                frontend.compute(*frontend.held.pop())

    return on_infer


def heard_infer(frontend: Any) -> dict[str, Any]:
    return heard(frontend, "infer")


def heard(frontend: Any, op: str) -> dict[str, Any]:
    while True:
        header = frontend.heard.get(timeout=60)
        if header["op"] == op:
            return header


def test_two_hundred_at_once_with_asyncio(fake_frontend: Fake) -> None:
    frontend = fake_frontend(on_infer=hold_then_reverse(200))

    async def ask() -> list[Any]:
        async with glet.AsyncClient(frontend.address) as client:
            assert list(await client.models()) == ["double", "pair", "early"]
            assert (await client.stats())["uptime_s"] == 1.5
            return await asyncio.gather(*(client.infer("double", X + i) for i in range(200)))

    for i, out in enumerate(asyncio.run(ask())):
        assert np.array_equal(out, (X + i) * 2)


def test_asyncio_sees_the_same_errors(fake_frontend: Fake) -> None:
    def late(frontend: Any, client: bytes, header: dict[str, Any], _: list[bytes]) -> None:
        frontend.error(client, header["id"], "late", "too late")

    async def ask() -> None:
        async with glet.AsyncClient(fake_frontend(on_infer=late).address) as client:
            with pytest.raises(LateError, match="too late"):
                await client.infer("double", X)
            with pytest.raises(ModelNotFoundError):
                await client.infer("none", X)

    asyncio.run(ask())


def test_a_cancelled_request_leaves_the_others_alone(fake_frontend: Fake) -> None:
    frontend = fake_frontend(on_infer=hold_then_reverse(2))

    async def ask() -> Any:
        async with glet.AsyncClient(frontend.address) as client:
            task = asyncio.create_task(client.infer("double", {"x": X}))
            await asyncio.to_thread(heard_infer, frontend)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            ((_, asked, _),) = frontend.held
            cancel = await asyncio.to_thread(heard, frontend, "cancel")
            assert cancel == {"op": "cancel", "id": asked["id"]}
            return await client.infer("double", {"x": X + 1})

    assert np.array_equal(asyncio.run(ask()), (X + 1) * 2)


def test_closing_ends_what_asyncio_waits_for(fake_frontend: Fake) -> None:
    frontend = fake_frontend(on_infer=hold)

    async def ask() -> None:
        client = glet.AsyncClient(frontend.address)
        task = asyncio.create_task(client.infer("double", {"x": X}))
        await asyncio.to_thread(heard_infer, frontend)
        await client.aclose()
        with pytest.raises(UnavailableError, match="closed"):
            await task
        await client.aclose()

    asyncio.run(ask())


def test_asyncio_sends_the_callers_trace(fake_frontend: Fake) -> None:
    frontend = fake_frontend()
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    async def ask() -> None:
        async with glet.AsyncClient(frontend.address) as client:
            await client.infer_detailed("double", {"x": X}, traceparent=traceparent)

    asyncio.run(ask())
    assert heard_infer(frontend)["traceparent"] == traceparent
