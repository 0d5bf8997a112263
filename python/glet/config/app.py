"""`app.toml`: what the owner of an app says about it, in a folder beside those of its models."""

import math
import re
from collections.abc import Mapping, Sequence

import msgspec

from glet.config.load import nearest
from glet.errors import ConfigError
from glet.types.app import (
    MOST_BYTES,
    MOST_PARTS,
    MOST_ROWS,
    MOST_STAGES,
    MOST_TENSORS,
    AppSpec,
    AppStage,
    Source,
    StageInput,
    gathered,
)
from glet.types.model import ModelSpec, Signature, TensorSpec

_NAME = re.compile(r"[A-Za-z0-9_-]+")
_VALID_NAME = "letters, digits, '_' and '-' are valid"


class StageConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A `[[stage]]`. `inputs` map each input of the model to `INPUT` or `STAGE.OUTPUT`.

    With `each`, tensors that have one axis more than the model takes are split along the first, one
    request per row; the stage's outputs have that axis too, rows in order.
    """

    name: str
    model: str
    inputs: dict[str, str]
    each: bool = False


class OutputConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An `[[output]]` of the app: `from` is `STAGE.OUTPUT`."""

    name: str
    source: str = msgspec.field(name="from")


class AppConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of an `app.toml`. `slo_ms` is from arrival to answer, over all stages."""

    slo_ms: float
    input: tuple[TensorSpec, ...]
    stage: tuple[StageConfig, ...]
    output: tuple[OutputConfig, ...]
    description: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slo_ms) and self.slo_ms > 0):
            raise ValueError(f"slo_ms is {self.slo_ms}; it must be above 0")
        if len(self.stage) > MOST_STAGES:
            raise ValueError(f"there are {len(self.stage)} stages; at most {MOST_STAGES} are valid")
        for role, names in (
            ("input", [each.name for each in self.input]),
            ("stage", [each.name for each in self.stage]),
            ("output", [each.name for each in self.output]),
        ):
            _check_names(role, names)


def _check_names(role: str, names: Sequence[str]) -> None:
    if not names:
        raise ValueError(f"there is no {role}: give at least one [[{role}]]")
    if len(names) > MOST_TENSORS:
        raise ValueError(f"there are {len(names)} {role}s; at most {MOST_TENSORS} are valid")
    for name in names:
        # A dot stands between a stage and its output.
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"{role} name {name!r}: {_VALID_NAME}")
        if names.count(name) > 1:
            raise ValueError(f"{role} name {name!r} is used twice")


def resolve(name: str, config: AppConfig, models: Mapping[str, ModelSpec]) -> AppSpec:
    """The app of that name over these models (by name).

    Raises ConfigError in one line: a cycle, a name that is none, dtypes or shapes that do not fit,
    a limit of glet.types.app, an input or a stage that no output needs.
    """
    known = {each.name: each for each in config.stage}
    _refuse_bytes(config, models)
    tensors = {Source(tensor=spec.name): spec for spec in config.input}
    stages: list[AppStage] = []
    for each in _in_order(config.stage, known):
        stage = _stage(each, config, models, tensors)
        stages.append(stage)
        for spec in stage.outputs:
            tensors[Source(stage=each.name, tensor=spec.name)] = gathered(spec, stage.each)
    outputs = tuple(_output(each, known, tensors) for each in config.output)
    signature = Signature(
        inputs=config.input,
        outputs=tuple(
            msgspec.structs.replace(tensors[source], name=each.name)
            for each, source in zip(config.output, outputs, strict=True)
        ),
    )
    _check_used(config, stages, outputs)
    _check_size(stages, tensors)
    return AppSpec(
        name=name,
        signature=signature,
        slo_ms=config.slo_ms,
        stages=tuple(stages),
        outputs=outputs,
    )


def _refuse_bytes(config: AppConfig, models: Mapping[str, ModelSpec]) -> None:
    """Their sizes are not known before: stages could neither cut nor gather them."""
    places = [("", config.input)]
    for each in config.stage:
        if each.model in models:
            signature = models[each.model].signature
            places.append((f"stage {each.name!r}: ", (*signature.inputs, *signature.outputs)))
    for where, specs in places:
        for spec in specs:
            if spec.is_bytes:
                raise ConfigError(
                    f"{where}{spec.name!r} is of bytes, which apps do not hand on; "
                    "ask the model itself"
                )


def _source(text: str, where: str, known: Mapping[str, StageConfig]) -> Source:
    stage, dot, tensor = text.partition(".")
    if not dot:
        return Source(tensor=text)
    if stage not in known:
        raise ConfigError(f"{where}: there is no stage {stage!r}; {nearest(stage, known)}")
    return Source(stage=stage, tensor=tensor)


def _in_order(stages: Sequence[StageConfig], known: Mapping[str, StageConfig]) -> list[StageConfig]:
    """Each after all that it takes from, else as in the file. Raises ConfigError for a cycle."""
    needs = {
        each.name: {
            source.stage
            for key, text in each.inputs.items()
            if (source := _source(text, f"stage {each.name!r}, input {key!r}", known)).stage
        }
        for each in stages
    }
    ordered: list[StageConfig] = []
    done: set[str] = set()
    while len(ordered) < len(stages):
        ready = [s for s in stages if s.name not in done and needs[s.name] <= done]
        if not ready:
            stuck = [each.name for each in stages if each.name not in done]
            raise ConfigError(
                f"stages {', '.join(stuck)} wait for each other; an app must have no cycle"
            )
        ordered.append(ready[0])
        done.add(ready[0].name)
    return ordered


def _stage(
    config: StageConfig,
    app: AppConfig,
    models: Mapping[str, ModelSpec],
    tensors: Mapping[Source, TensorSpec],
) -> AppStage:
    where = f"stage {config.name!r}"
    model = models.get(config.model)
    if model is None:
        raise ConfigError(
            f"{where}: there is no model {config.model!r}; {nearest(config.model, models)}"
        )
    wanted = {spec.name: spec for spec in model.signature.inputs}
    for key in config.inputs:
        if key not in wanted:
            raise ConfigError(
                f"{where}: model {config.model!r} has no input {key!r}; {nearest(key, wanted)}"
            )
    inputs = []
    rows: dict[str, int] = {}
    for key, spec in wanted.items():
        if key not in config.inputs:
            raise ConfigError(f"{where}: input {key!r} of model {config.model!r} is missing")
        at = f"{where}, input {key!r}"
        source = _source(config.inputs[key], at, {each.name: each for each in app.stage})
        given = _tensor(source, at, tensors)
        split = _is_split(given, spec, at, each=config.each)
        if split:
            rows[key] = given.shape[0]
        inputs.append(StageInput(name=key, source=source, split=split))
    return AppStage(
        name=config.name,
        model=config.model,
        each=_rows(rows, where) if config.each else 0,
        inputs=tuple(inputs),
        outputs=model.signature.outputs,
    )


def _tensor(source: Source, where: str, tensors: Mapping[Source, TensorSpec]) -> TensorSpec:
    if source in tensors:
        return tensors[source]
    valid = [known.tensor for known in tensors if known.stage == source.stage]
    of = f"stage {source.stage!r} has no output" if source.stage else "the app has no input"
    raise ConfigError(f"{where}: {of} {source.tensor!r}; {nearest(source.tensor, valid)}")


def _is_split(given: TensorSpec, wanted: TensorSpec, where: str, *, each: bool) -> bool:
    if given.dtype == wanted.dtype:
        if given.shape == wanted.shape:
            return False
        if each and given.shape[1:] == wanted.shape and given.shape:
            return True
    rows = f", or [n, {', '.join(map(str, wanted.shape))}]" if each else ""
    hint = ""
    if not each and given.dtype == wanted.dtype and given.shape[1:] == wanted.shape:
        hint = "; each = true makes a request of every row"
    raise ConfigError(
        f"{where}: is given {given.dtype} {list(given.shape)}, "
        f"expected {wanted.dtype} {list(wanted.shape)}{rows}{hint}"
    )


def _rows(rows: Mapping[str, int], where: str) -> int:
    if not rows:
        raise ConfigError(f"{where}: each = true, but no input has one axis more than the model's")
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{key!r} {count}" for key, count in rows.items())
        raise ConfigError(f"{where}: its inputs have different numbers of rows: {counts}")
    (count,) = set(rows.values())
    if count > MOST_ROWS:
        raise ConfigError(f"{where}: splits {count} rows; at most {MOST_ROWS} are valid")
    return count


def _output(
    config: OutputConfig, known: Mapping[str, StageConfig], tensors: Mapping[Source, TensorSpec]
) -> Source:
    where = f"output {config.name!r}"
    source = _source(config.source, where, known)
    if not source.stage:
        raise ConfigError(f"{where}: from {config.source!r}; valid is STAGE.OUTPUT")
    _tensor(source, where, tensors)
    return source


def _check_used(config: AppConfig, stages: Sequence[AppStage], outputs: Sequence[Source]) -> None:
    wanted = {source.stage for source in outputs}
    for stage in reversed(stages):
        if stage.name not in wanted:
            raise ConfigError(f"stage {stage.name!r}: no output of the app needs it")
        wanted |= stage.needs
    taken = {each.source for stage in stages for each in stage.inputs}
    for spec in config.input:
        if Source(tensor=spec.name) not in taken:
            raise ConfigError(f"input {spec.name!r}: no stage takes it")


def _check_size(stages: Sequence[AppStage], tensors: Mapping[Source, TensorSpec]) -> None:
    parts = sum(stage.fan_out for stage in stages)
    if parts > MOST_PARTS:
        raise ConfigError(f"makes {parts} requests of one; at most {MOST_PARTS} are valid")
    split = {stage.name for stage in stages if stage.each}
    # Rows that are gathered exist twice for a moment.
    held = sum(spec.nbytes * (1 + (source.stage in split)) for source, spec in tensors.items())
    if held > MOST_BYTES:
        raise ConfigError(
            f"one request holds {held >> 20} MiB of tensors; at most {MOST_BYTES >> 20} are valid"
        )
