"""A frontend's web side without a frontend: made-up models, and what it was told."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from glet.errors import ModelNotFoundError, RequestError
from glet.serve.loading import Done, Override
from glet.serve.web.cuda_memory import CudaMemory
from glet.serve.web.dispatch import Web
from glet.serve.web.operations import Operations
from glet.serve.web.request import WebAnswer, WebRequest
from glet.serve.web.settings import LogSettings, TraceSettings
from glet.serve.web.shared_memory import SharedMemory

WALL_MS = 1_700_000_000_000.0


def gpulet(**changes: Any) -> dict[str, Any]:
    return {
        "backend": "device0",
        "device": 0,
        "kind": "cpu",
        "gpulet": 1,
        "batch": 8,
        "runner": "compiled",
        "memory_mb": 1.5,
        **changes,
    }


def model(state: str = "serving", **changes: Any) -> dict[str, Any]:
    return {
        "state": state,
        "error": "",
        "slo_ms": 25.0,
        "max_batch": 32,
        "inputs": [["image", "float32", [1, 28, 28]]],
        "outputs": [["scores", "float32", [10]], ["text", "bytes", [1]]],
        "gpulets": [gpulet()],
        **changes,
    }


MODELS: dict[str, dict[str, Any]] = {
    "lenet": model(),
    "resnet": model("compiling", gpulets=[]),
    "gone": model("unloaded", gpulets=[]),
    "broken": model("failed", error="model 'broken': has no model.toml", slo_ms=None, gpulets=[]),
    "traffic": model(
        max_batch=None,
        gpulets=[],
        stages=[{"stage": "detect", "model": "lenet", "requests": 1, "budget_ms": 12.5}],
    ),
}
COUNTED: dict[str, dict[str, Any]] = {
    "lenet": {
        "ok": 10,
        "late": 2,
        "full": 1,
        "failed": 0,
        "unavailable": 0,
        "invalid": 3,
        "ok_ns": 50_000.0,
        "queue_ns": 20_000,
        "batch_ns": 1_000,
        "execute_ns": 30_000,
        "last_ago_ms": 500.0,
        # Two alone, and two batches of four.
        "batches": [(1, 2, 100, 4_000), (4, 8, 900, 26_000)],
    }
}


class WebRig:
    """`web` over MODELS; `answers` are those that came later."""

    def __init__(self, shm: Path, trace: TraceSettings | None = None) -> None:
        self.ready = True
        self.told: list[tuple[str, Any, Any]] = []
        self.fail: RequestError | None = None
        self.open: list[Done] = []
        self.answers: list[WebAnswer] = []
        self.regions: dict[str, tuple[int, int]] = {}
        self.cuda_regions: dict[str, tuple[bytes, int]] = {}
        self.on_gpu = False
        taken: set[str] = set()
        self.logger = logging.getLogger(f"web.{id(self)}")
        self.logger.setLevel(logging.INFO)
        memory = SharedMemory(
            lambda name, address, size: self.regions.update({name: (address, size)}),
            self.regions.pop,
            shm,
            taken,
        )
        cuda = CudaMemory(
            lambda name, handle, size: self.cuda_regions.update({name: (handle, size)}),
            self.cuda_regions.pop,
            lambda: self.on_gpu,
            taken,
        )
        operations = Operations(
            self, self, memory, cuda, LogSettings(self.logger), trace or TraceSettings()
        )
        self.web = Web(operations, lambda request, answer: self.answers.append(answer))

    def models(self) -> Mapping[str, Mapping[str, Any]]:
        return MODELS

    def counted(self) -> Mapping[str, Mapping[str, Any]]:
        return COUNTED

    def is_ready(self) -> bool:
        return self.ready

    def wall_ms(self) -> float:
        return WALL_MS

    def load(self, name: str, override: Override, done: Done) -> None:
        if name not in MODELS:
            raise ModelNotFoundError(f"no model {name!r}")
        self.told.append(("load", name, override))
        self.open.append(done)

    def unload(self, name: str, done: Done, *, dependents: bool = False) -> None:
        self.told.append(("unload", name, dependents))
        self.open.append(done)

    def http(self, method: str, target: str, body: Any = None) -> WebAnswer:
        """The answer; of one that comes later the last that came."""
        data = (
            body if isinstance(body, bytes) else b"" if body is None else msgspec.json.encode(body)
        )
        answer = self.web.handle(WebRequest(method=method, target=target, body=data))
        if answer is None:
            self.open.pop()(self.fail)
            answer = self.answers.pop()
        return answer

    def get(self, target: str) -> Any:
        """The body of a GET that has to succeed."""
        return self._json(self.http("GET", target))

    def post(self, target: str, body: Any = None) -> Any:
        return self._json(self.http("POST", target, body))

    def refused(self, method: str, target: str, body: Any = None) -> tuple[int, str]:
        """Status and line of a request that has to fail."""
        answer = self.http(method, target, body)
        error = msgspec.json.decode(answer.body)
        assert list(error) == ["error"]
        assert "\n" not in error["error"]
        return answer.status, error["error"]

    def _json(self, answer: WebAnswer) -> Any:
        assert answer.status == 200, answer.body
        assert ("content-type", "application/json") in answer.headers
        return msgspec.json.decode(answer.body)
