"""`model.toml`: what the owner of a model says about it, beside the model in its folder."""

import json
import math
from typing import Annotated, Literal

import msgspec

from glet.types.model import DEFAULT_MAX_BYTES, ModelSpec, Signature, TensorSpec, check_signature

RunnerChoice = Literal["auto", "compiled", "python"]
CompileChoice = Literal["graph", "aoti"]
Precision = Literal["fp32", "fp16", "bf16"]


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a `model.toml`.

    `slo_ms` is from arrival to answer. `runner` is a choice only for `model.pt2`: `auto` compiles
    it and falls back to Python where that fails, `compiled` refuses the fallback, `python` never
    compiles. `samples` names an .npz with an array (n, ...) per input and, optionally, `labels`
    (n,); `labels` names a text file with the classes, one a line.

    On a GPU a network is captured into CUDA graphs; with `compile = "aoti"` a `model.pt2` is
    compiled for it by AOTInductor instead, and captured where that fails, unless `runner` is
    `compiled`. There a network computes in `precision` (`fp32`: as it was saved), and images lie in
    memory as `channels_last`. Clients see none of it: what they send and get has the dtypes and
    shapes of the signature. A CPU computes as the model was saved.
    """

    slo_ms: float
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    input: tuple[TensorSpec, ...]
    output: tuple[TensorSpec, ...]
    runner: RunnerChoice = "auto"
    compile: CompileChoice = "graph"
    precision: Precision = "fp32"
    channels_last: bool = False
    description: str = ""
    samples: str = ""
    labels: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slo_ms) and self.slo_ms > 0):
            raise ValueError(f"slo_ms is {self.slo_ms}; it must be above 0")
        check_signature(self.input, self.output)
        if self.compile == "aoti" and self.runner == "python":
            raise ValueError(
                "compile = 'aoti' and runner = 'python' exclude each other; leave one of them out"
            )
        if self.channels_last and not any(len(spec.shape) == 3 for spec in self.input):
            shapes = ", ".join(str(list(spec.shape)) for spec in self.input)
            raise ValueError(
                f"channels_last is for images, and no input is one (shapes {shapes}); "
                "valid with an input of [channels, height, width]"
            )

    @property
    def bytes_tensor(self) -> str | None:
        """The name of an input or output of strings, which only models in Python have."""
        return next((spec.name for spec in (*self.input, *self.output) if spec.is_bytes), None)

    @property
    def signature(self) -> Signature:
        return Signature(inputs=self.input, outputs=self.output)

    def spec(self, name: str) -> ModelSpec:
        """The model as the rest of glet knows it, under the name of its folder."""
        return ModelSpec(
            name=name,
            signature=self.signature,
            slo_ms=self.slo_ms,
            max_batch=self.max_batch,
        )


_WORDS = {
    "runner": "auto",
    "compile": "graph",
    "precision": "fp32",
    "description": "",
    "samples": "",
    "labels": "",
}


def to_toml(config: ModelConfig) -> str:
    """The text of a `model.toml` that reads back as `config`; defaults are left out."""
    lines = [f"slo_ms = {config.slo_ms!r}", f"max_batch = {config.max_batch}"]
    for key, default in _WORDS.items():
        value = getattr(config, key)
        if value != default:
            lines.append(f"{key} = {quoted(value)}")
    if config.channels_last:
        lines.append("channels_last = true")
    for role, specs in (("input", config.input), ("output", config.output)):
        for spec in specs:
            lines += ["", f"[[{role}]]", f"name = {quoted(spec.name)}"]
            lines += [f"dtype = {quoted(spec.dtype)}", f"shape = {list(spec.shape)}"]
            if spec.is_bytes and spec.max_bytes != DEFAULT_MAX_BYTES:
                lines.append(f"max_bytes = {spec.max_bytes}")
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """A string as TOML writes it."""
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too. Astral characters stay
    # as they are: JSON would write them as two surrogates.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
