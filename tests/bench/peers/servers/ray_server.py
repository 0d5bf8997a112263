"""Serves one model with Ray Serve, at the port given, until it is told to end."""

import signal
import sys
import threading

import numpy as np
import ray
from ray import serve
from served import batch_from_environment, load_from_environment
from starlette.requests import Request

MAX_BATCH, WAIT_MS = batch_from_environment()


class Model:
    def __init__(self) -> None:
        self.infer = load_from_environment()

    @serve.batch(max_batch_size=MAX_BATCH, batch_wait_timeout_s=WAIT_MS / 1e3)
    async def rows(self, x: list[list[float]]) -> list[list[float]]:
        return self.infer(np.array(x, dtype=np.float32)).tolist()

    async def __call__(self, request: Request) -> dict[str, list[float]]:
        return {"y": await self.rows((await request.json())["x"])}


def main() -> None:
    port, ongoing, queued = map(int, sys.argv[1:])
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    # Two logical processors: those that this machine lends are shared with the load anyway.
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    deployed = serve.deployment(
        num_replicas=1, max_ongoing_requests=ongoing, max_queued_requests=queued
    )(Model)
    serve.run(deployed.bind(), name="model", route_prefix="/predict")
    ended.wait()
    ray.shutdown()


if __name__ == "__main__":
    main()
