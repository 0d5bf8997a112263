"""What the Open Inference Protocol and its extensions ask of a server, whatever it came in.

One method for each operation. Arguments are plain, answers are what JSON has, under the names that
the protocol's messages use; REST (rest.py) and gRPC (rpc.py) only translate. What is wrong is
raised as a RequestError.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

import glet
from glet.config.load import decode_json, nearest
from glet.errors import ConfigError, InvalidInputError, ModelNotFoundError, UnavailableError
from glet.serve.loading import Done, Override, checked_override
from glet.serve.web import published
from glet.serve.web.cuda_memory import CudaMemory
from glet.serve.web.failure import NotFoundError, NotSupportedError
from glet.serve.web.settings import LogSettings, TraceSettings
from glet.serve.web.shared_memory import SharedMemory

EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "parameters",
    "schedule_policy",
    "system_shared_memory",
    "cuda_shared_memory",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "statistics",
    "trace",
    "logging",
)
HEALTH_SERVICES = ("", "inference.GRPCInferenceService")


class Loads(Protocol):
    """Whoever loads and unloads: glet.serve.loading.Loading."""

    def load(self, name: str, override: Override, done: Done) -> None: ...
    def unload(self, name: str, done: Done, *, dependents: bool = False) -> None: ...


class Host(Protocol):
    """What is asked of the frontend."""

    def models(self) -> Mapping[str, Mapping[str, Any]]:
        """What it answers to `models`."""
        ...

    def counted(self) -> Mapping[str, Mapping[str, Any]]:
        """stats() of its core, by model."""
        ...

    def is_ready(self) -> bool:
        """Whether it takes requests: it has a plan, and is not stopping."""
        ...

    def wall_ms(self) -> float:
        """Milliseconds since 1970."""
        ...


class ModelChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`config` of a load: keys of model.toml, or of Triton's ModelConfig where it has the same."""

    slo_ms: float | None = None
    max_batch: int | None = None
    max_batch_size: int | str | None = None
    name: str | None = None


class Operations:
    """All of them, over one frontend."""

    def __init__(
        self,
        host: Host,
        loads: Loads,
        memory: SharedMemory,
        cuda: CudaMemory,
        log: LogSettings,
        trace: TraceSettings,
    ) -> None:
        self._host = host
        self._loads = loads
        self.memory = memory
        self.cuda = cuda
        self.log = log
        self.trace = trace

    def server_live(self) -> bool:
        """It answers, so it lives."""
        return True

    def server_ready(self) -> bool:
        return self._host.is_ready()

    def server_metadata(self) -> dict[str, Any]:
        """ServerMetadataResponse."""
        return {"name": "glet", "version": glet.__version__, "extensions": list(EXTENSIONS)}

    def health(self, service: str) -> bool:
        """Whether it serves: the server, or a model by its name. Raises NotFoundError."""
        if service in HEALTH_SERVICES:
            return self._host.is_ready()
        if service not in self._host.models():
            raise NotFoundError(f"no service {service[:200]!r}; valid are '' and names of models")
        return self.model_ready(service)

    def model_names(self) -> list[str]:
        """All models and apps that are served, sorted."""
        models = self._host.models()
        return sorted(name for name, model in models.items() if model["state"] == "serving")

    def model_ready(self, name: str, version: str = "") -> bool:
        """Whether it serves now. Raises ModelNotFoundError."""
        return bool(self._model(name, version)["state"] == "serving")

    def model_metadata(self, name: str, version: str = "") -> dict[str, Any]:
        """ModelMetadataResponse. Raises ModelNotFoundError, UnavailableError."""
        return published.metadata(name, self._sound(name, version))

    def model_config(self, name: str, version: str = "") -> dict[str, Any]:
        """ModelConfig. Raises ModelNotFoundError, UnavailableError."""
        return published.config(name, self._sound(name, version))

    def statistics(self, name: str = "", version: str = "") -> dict[str, Any]:
        """ModelStatisticsResponse of one, or of all that served. Raises ModelNotFoundError."""
        if version and not name:
            raise InvalidInputError("a version needs the name of a model")
        models = {name: self._model(name, version)} if name else self._host.models()
        counted = self._host.counted()
        wall_ms = self._host.wall_ms()
        return {
            "model_stats": [
                published.statistics(each, model, counted.get(each, {}), wall_ms)
                for each, model in models.items()
                if name or each in counted
            ]
        }

    def index(self, repository: str = "", *, ready: bool = False) -> list[dict[str, Any]]:
        """All ModelIndex, or those that serve."""
        _only_repository(repository)
        rows = [published.index_row(name, model) for name, model in self._host.models().items()]
        return [row for row in rows if not ready or row["state"] == "READY"]

    def load(self, name: str, parameters: Mapping[str, Any], done: Done) -> None:
        """`done` is called when it serves. `config` in `parameters` is JSON: ModelChanges.

        Raises InvalidInputError and NotSupportedError for what cannot be changed.
        """
        for key in parameters:
            if key.startswith("file:"):
                raise NotSupportedError(
                    f"parameter {key[:60]!r}: files come from the repository's folder; "
                    "valid is config"
                )
            if key != "config":
                raise InvalidInputError(f"no parameter {key[:60]!r}; valid is config")
        self._loads.load(name, override_of(name, parameters.get("config")), done)

    def unload(self, name: str, parameters: Mapping[str, Any], done: Done) -> None:
        """`done` is called when nobody hosts it. Raises InvalidInputError for a parameter."""
        for key in parameters:
            if key != "unload_dependents":
                raise InvalidInputError(f"no parameter {key[:60]!r}; valid is unload_dependents")
        dependents = parameters.get("unload_dependents", False)
        if not isinstance(dependents, bool):
            raise InvalidInputError("unload_dependents is true or false")
        self._loads.unload(name, done, dependents=dependents)

    def trace_settings(self, model: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Those of all models, or of one, after the change. Raises ModelNotFoundError."""
        if model:
            self._model(model, "")
        return self.trace.update(given, model) if given else self.trace.get(model)

    def _model(self, name: str, version: str) -> Mapping[str, Any]:
        models = self._host.models()
        if name not in models:
            if not models and not self._host.is_ready():
                raise UnavailableError(f"no model {name[:128]!r} yet: glet has just started")
            raise ModelNotFoundError(f"no model {name[:128]!r}; {nearest(name[:128], models)}")
        if version not in ("", published.VERSION):
            raise ModelNotFoundError(
                f"model {name!r} has no version {version[:20]!r}; valid is {published.VERSION}"
            )
        return models[name]

    def _sound(self, name: str, version: str) -> Mapping[str, Any]:
        model = self._model(name, version)
        if model["slo_ms"] is None:
            why = model["error"] or published.REASONS.get(model["state"], model["state"])
            raise UnavailableError(f"model {name!r}: {why}")
        return model


def override_of(name: str, config: Any) -> Override:
    """What `config` of a load, a JSON object as text or None, changes. Raises InvalidInputError."""
    if config is None or config == "":
        return Override()
    if isinstance(config, Mapping):
        config = msgspec.json.encode(config).decode()
    if not isinstance(config, str):
        raise InvalidInputError("config is no JSON text; give an object as a string")
    try:
        changes = decode_json(config, ModelChanges, f"config of {name!r}")
    except ConfigError as error:
        raise InvalidInputError(str(error)) from None
    if changes.name not in (None, name):
        raise InvalidInputError(
            f"config of {name!r}: name is {changes.name!r}; it cannot be changed"
        )
    return checked_override(changes.slo_ms, _batch_of(name, changes))


def _batch_of(name: str, changes: ModelChanges) -> int | None:
    size = changes.max_batch_size
    if size is None:
        return changes.max_batch
    if changes.max_batch is not None:
        raise InvalidInputError(f"config of {name!r}: max_batch and max_batch_size are the same")
    # JSON of protocol buffers may have numbers as strings.
    text = str(size)
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise InvalidInputError(
            f"config of {name!r}: max_batch_size is {text[:20]!r}; give a number"
        )
    return int(text)


def _only_repository(name: str) -> None:
    if name:
        raise InvalidInputError(f"there is one repository, without a name; {name[:60]!r} was given")


def later(answer: Callable[[], None], fail: Callable[[Any], None]) -> Done:
    """A Done of two functions."""
    return lambda error: answer() if error is None else fail(error)
