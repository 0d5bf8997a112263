"""Operations over HTTP and JSON: /v2, as Triton, KServe and their clients ask for it."""

from base64 import b64decode
from collections.abc import Callable
from importlib.resources import files
from typing import Any, TypeVar

import msgspec

import glet
from glet.errors import InvalidInputError, ModelNotFoundError, RequestError
from glet.serve.web.failure import http_failure
from glet.serve.web.operations import Operations, later
from glet.serve.web.request import WebAnswer, WebRequest, json_answer
from glet.serve.web.routes import Asked, Routes

Reply = Callable[[WebRequest, WebAnswer], None]
"""Answers a request for which handle() gave None."""
T = TypeVar("T")

MODEL = "/v2/models/{model}"
REGION = "/v2/systemsharedmemory/region/{region}"
CUDA_REGION = "/v2/cudasharedmemory/region/{region}"
LOADED = "/v2/repository/models/{model}"


class Rest:
    """The routes of all operations; others may add theirs to `routes`."""

    def __init__(self, operations: Operations, reply: Reply) -> None:
        self._do = operations
        self._reply = reply
        self.routes = Routes()
        self._openapi = openapi()
        self._add_server()
        self._add_models()
        self._add_repository()
        self._add_memory()

    def handle(self, request: WebRequest) -> WebAnswer | None:
        """None: it is answered later, through `reply`."""
        try:
            handler, asked = self.routes.find(request)
            return handler(asked)
        except RequestError as error:
            return http_failure(error)

    def _get(self, path: str, make: Callable[[Asked], Any]) -> None:
        self.routes.add("GET", path, lambda asked: json_answer(make(asked)))

    def _post(self, path: str, make: Callable[[Asked, dict[str, Any]], Any]) -> None:
        self.routes.add("POST", path, lambda asked: json_answer(make(asked, _object(asked))))

    def _add_server(self) -> None:
        do = self._do
        self._get("/openapi.json", lambda _: self._openapi)
        self._get("/v2", lambda _: do.server_metadata())
        self._get("/v2/health/live", lambda _: {"live": do.server_live()})
        self.routes.add("GET", "/v2/health/ready", self._server_ready)
        self._get("/v2/logging", lambda _: do.log.get())
        self._post("/v2/logging", lambda _, body: do.log.update(body))
        self._get("/v2/trace/setting", lambda _: do.trace_settings("", {}))
        self._post("/v2/trace/setting", lambda _, body: do.trace_settings("", body))
        traced = f"{MODEL}/trace/setting"
        self._get(traced, lambda asked: do.trace_settings(asked.params["model"], {}))
        self._post(traced, lambda asked, body: do.trace_settings(asked.params["model"], body))

    def _add_models(self) -> None:
        do = self._do
        self._get("/v2/models", lambda _: {"models": do.model_names()})
        self._get("/v2/models/stats", lambda _: do.statistics())
        for path in (MODEL, f"{MODEL}/versions/{{version}}"):
            self._get(path, lambda asked: do.model_metadata(*_model(asked)))
            self._get(f"{path}/config", lambda asked: do.model_config(*_model(asked)))
            self._get(f"{path}/stats", lambda asked: do.statistics(*_model(asked)))
            self.routes.add("GET", f"{path}/ready", self._model_ready)

    def _add_repository(self) -> None:
        self._post("/v2/repository/index", self._index)
        self.routes.add("POST", f"{LOADED}/load", self._load)
        self.routes.add("POST", f"{LOADED}/unload", self._unload)

    def _add_memory(self) -> None:
        memory, cuda = self._do.memory, self._do.cuda
        self._get("/v2/systemsharedmemory/status", lambda _: memory.status())
        self._get(f"{REGION}/status", lambda asked: memory.status(asked.params["region"]))
        self.routes.add("POST", f"{REGION}/register", self._register)
        for path in (f"{REGION}/unregister", "/v2/systemsharedmemory/unregister"):
            self.routes.add("POST", path, self._unregister)
        self._get("/v2/cudasharedmemory/status", lambda _: cuda.status())
        self._get(f"{CUDA_REGION}/status", lambda asked: cuda.status(asked.params["region"]))
        self.routes.add("POST", f"{CUDA_REGION}/register", self._register_cuda)
        for path in (f"{CUDA_REGION}/unregister", "/v2/cudasharedmemory/unregister"):
            self.routes.add("POST", path, self._unregister_cuda)

    def _server_ready(self, _: Asked) -> WebAnswer:
        is_ready = self._do.server_ready()
        return json_answer({"ready": is_ready}, 200 if is_ready else 503)

    def _model_ready(self, asked: Asked) -> WebAnswer:
        name, version = _model(asked)
        is_ready = self._do.model_ready(name, version)
        return json_answer({"name": name, "ready": is_ready}, 200 if is_ready else 503)

    def _index(self, asked: Asked, body: dict[str, Any]) -> list[dict[str, Any]]:
        _only(body, "ready", "repository_name")
        ready = _field(body, "ready", bool, False)
        return self._do.index(_field(body, "repository_name", str, ""), ready=ready)

    def _load(self, asked: Asked) -> None:
        name = asked.params["model"]
        self._do.load(name, _parameters(asked), self._done(asked, {"name": name, "load": True}))

    def _unload(self, asked: Asked) -> None:
        name = asked.params["model"]
        self._do.unload(name, _parameters(asked), self._done(asked, {"name": name, "unload": True}))

    def _done(self, asked: Asked, value: Any) -> Callable[[RequestError | None], None]:
        request = asked.request
        return later(
            lambda: self._reply(request, json_answer(value)),
            lambda error: self._reply(request, http_failure(error)),
        )

    def _register(self, asked: Asked) -> WebAnswer:
        body = _object(asked)
        _only(body, "key", "offset", "byte_size")
        self._do.memory.register(
            asked.params["region"],
            _field(body, "key", str),
            _field(body, "offset", int, 0),
            _field(body, "byte_size", int),
        )
        return json_answer({})

    def _unregister(self, asked: Asked) -> WebAnswer:
        self._do.memory.unregister(asked.params.get("region", ""))
        return json_answer({})

    def _register_cuda(self, asked: Asked) -> WebAnswer:
        name = asked.params["region"]
        self._do.cuda.require_gpu(name)
        body = _object(asked)
        _only(body, "raw_handle", "device_id", "byte_size")
        handle = _field(body, "raw_handle", dict)
        _only(handle, "b64")
        try:
            raw = b64decode(_field(handle, "b64", str), validate=True)
        except ValueError:
            raise InvalidInputError("raw_handle.b64 is no base64") from None
        device_id = _field(body, "device_id", int, 0)
        self._do.cuda.register(name, raw, device_id, _field(body, "byte_size", int))
        return json_answer({})

    def _unregister_cuda(self, asked: Asked) -> WebAnswer:
        self._do.cuda.unregister(asked.params.get("region", ""))
        return json_answer({})


def openapi() -> dict[str, Any]:
    """The document that describes all routes but the dashboard's files: openapi.json."""
    text = files("glet.serve.web").joinpath("openapi.json").read_bytes()
    document: dict[str, Any] = msgspec.json.decode(text)
    document["info"]["version"] = glet.__version__
    return document


def _model(asked: Asked) -> tuple[str, str]:
    version = asked.params.get("version")
    if version == "":
        raise ModelNotFoundError("the version is empty")
    return asked.params["model"], version or ""


def _object(asked: Asked) -> dict[str, Any]:
    """The body, an object; {} where there is none. Raises InvalidInputError."""
    if not asked.request.body.strip():
        return {}
    try:
        body = msgspec.json.decode(asked.request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInputError(f"the body is no JSON: {error}") from None
    if not isinstance(body, dict):
        raise InvalidInputError(f"the body is {_kind(body)}; give an object")
    return body


def _parameters(asked: Asked) -> dict[str, Any]:
    body = _object(asked)
    _only(body, "parameters")
    return _field(body, "parameters", dict, {})


def _only(body: dict[str, Any], *valid: str) -> None:
    for key in body:
        if key not in valid:
            raise InvalidInputError(f"no key {key[:60]!r} is known here; valid: {', '.join(valid)}")


def _field(body: dict[str, Any], name: str, kind: type[T], default: T | None = None) -> T:
    """Raises InvalidInputError where it is missing, without a default, or of another kind."""
    value = body.get(name, default)
    if value is None:
        raise InvalidInputError(f"{name} is missing")
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise InvalidInputError(f"{name} is {_kind(value)}; {_KINDS[kind]} is valid")
    return value


_KINDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    dict: "an object",
    list: "an array",
}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null")
