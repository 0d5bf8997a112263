"""Operations over gRPC: inference.GRPCInferenceService but for inference, and grpc.health.v1.

A method is: its request -> what operations take, and what they give -> its response. What is JSON
in REST is the same here, as the messages have the same names; protobuf's own JSON does the rest.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from glet.errors import InvalidInputError, ModelNotFoundError, RequestError
from glet.serve.web.failure import NotSupportedError, grpc_failure
from glet.serve.web.oip_proto import message_class
from glet.serve.web.operations import Operations, later
from glet.serve.web.request import WebAnswer, WebRequest

Reply = Callable[[WebRequest, WebAnswer], None]

SERVICE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/Check"


class _Method(NamedTuple):
    """`answer` gives the response as JSON has it, or None: it is answered later."""

    request: Any
    response: Any
    answer: Callable[[Any, WebRequest], dict[str, Any] | None]


class Rpc:
    """The methods of all operations, by target."""

    def __init__(self, operations: Operations, reply: Reply) -> None:
        self._do = operations
        self._reply = reply
        self._methods: dict[str, _Method] = {}
        self._add_server()
        self._add_models()
        self._add_repository()
        self._add_memory()

    def handle(self, request: WebRequest) -> WebAnswer | None:
        """None: it is answered later, through `reply`."""
        try:
            method = self._methods.get(request.target)
            if method is None:
                raise NotSupportedError(f"no method {request.target[:200]!r}")
            asked = method.request()
            try:
                asked.ParseFromString(request.body)
            except (DecodeError, UnicodeDecodeError) as error:
                raise InvalidInputError(f"the message cannot be read: {error}") from None
            value = method.answer(asked, request)
            return None if value is None else _answer(method.response, value)
        except RequestError as error:
            return grpc_failure(error)

    def _add(self, name: str, answer: Callable[[Any, WebRequest], dict[str, Any] | None]) -> None:
        request, response = message_class(f"{name}Request"), message_class(f"{name}Response")
        self._methods[SERVICE + name] = _Method(request, response, answer)

    def _add_server(self) -> None:
        do = self._do
        self._add("ServerLive", lambda *_: {"live": do.server_live()})
        self._add("ServerReady", lambda *_: {"ready": do.server_ready()})
        self._add("ServerMetadata", lambda *_: do.server_metadata())
        self._add("TraceSetting", self._trace)
        self._add("LogSettings", self._log)
        self._methods[HEALTH] = _Method(
            message_class("HealthCheckRequest"),
            message_class("HealthCheckResponse"),
            lambda asked, _: {"status": "SERVING" if do.health(asked.service) else "NOT_SERVING"},
        )

    def _add_models(self) -> None:
        do = self._do
        self._add("ModelReady", self._model_ready)
        self._add("ModelMetadata", lambda asked, _: do.model_metadata(asked.name, asked.version))
        self._add(
            "ModelConfig", lambda asked, _: {"config": do.model_config(asked.name, asked.version)}
        )
        self._add("ModelStatistics", lambda asked, _: do.statistics(asked.name, asked.version))

    def _add_repository(self) -> None:
        do = self._do
        self._add(
            "RepositoryIndex",
            lambda asked, _: {"models": do.index(asked.repository_name, ready=asked.ready)},
        )
        self._add("RepositoryModelLoad", self._load)
        self._add("RepositoryModelUnload", self._unload)

    def _add_memory(self) -> None:
        memory, cuda = self._do.memory, self._do.cuda
        self._add("SystemSharedMemoryStatus", lambda asked, _: _regions(memory.status(asked.name)))
        self._add("SystemSharedMemoryRegister", self._register)
        self._add("SystemSharedMemoryUnregister", self._unregister)
        self._add("CudaSharedMemoryStatus", lambda asked, _: _regions(cuda.status(asked.name)))
        self._add("CudaSharedMemoryRegister", self._register_cuda)
        self._add("CudaSharedMemoryUnregister", self._unregister_cuda)

    def _model_ready(self, asked: Any, _: WebRequest) -> dict[str, Any]:
        try:
            return {"ready": self._do.model_ready(asked.name, asked.version)}
        except ModelNotFoundError:
            return {"ready": False}

    def _trace(self, asked: Any, _: WebRequest) -> dict[str, Any]:
        given = {name: list(value.value) or None for name, value in asked.settings.items()}
        settings = self._do.trace_settings(asked.model_name, given)
        return {
            "settings": {
                name: {"value": value if isinstance(value, list) else [value]}
                for name, value in settings.items()
            }
        }

    def _log(self, asked: Any, _: WebRequest) -> dict[str, Any]:
        settings = self._do.log.update(_chosen(asked.settings))
        return {"settings": {name: _log_value(value) for name, value in settings.items()}}

    def _register(self, asked: Any, _: WebRequest) -> dict[str, Any]:
        self._do.memory.register(asked.name, asked.key, asked.offset, asked.byte_size)
        return {}

    def _unregister(self, asked: Any, _: WebRequest) -> dict[str, Any]:
        self._do.memory.unregister(asked.name)
        return {}

    def _register_cuda(self, asked: Any, _: WebRequest) -> dict[str, Any]:
        self._do.cuda.register(asked.name, asked.raw_handle, asked.device_id, asked.byte_size)
        return {}

    def _unregister_cuda(self, asked: Any, _: WebRequest) -> dict[str, Any]:
        self._do.cuda.unregister(asked.name)
        return {}

    def _load(self, asked: Any, request: WebRequest) -> None:
        done = self._done(request, "RepositoryModelLoad")
        _no_repository(asked.repository_name)
        self._do.load(asked.model_name, _chosen(asked.parameters), done)

    def _unload(self, asked: Any, request: WebRequest) -> None:
        done = self._done(request, "RepositoryModelUnload")
        _no_repository(asked.repository_name)
        self._do.unload(asked.model_name, _chosen(asked.parameters), done)

    def _done(self, request: WebRequest, name: str) -> Callable[[RequestError | None], None]:
        empty = message_class(f"{name}Response")
        return later(
            lambda: self._reply(request, _answer(empty, {})),
            lambda error: self._reply(request, grpc_failure(error)),
        )


def _answer(response: Any, value: dict[str, Any]) -> WebAnswer:
    body: bytes = json_format.ParseDict(value, response()).SerializeToString()
    return WebAnswer(status=0, body=body)


def _regions(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"regions": {row["name"]: row for row in rows}}


def _chosen(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Values of messages whose one oneof is the value; one without a choice is left out."""
    found = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is not None:
            found[name] = getattr(parameter, choice)
    return found


def _log_value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"bool_param": value}
    return {"uint32_param": value} if isinstance(value, int) else {"string_param": value}


def _no_repository(name: str) -> None:
    if name:
        raise InvalidInputError(f"there is one repository, without a name; {name[:60]!r} was given")
