"""`model.toml`: what the owner of a model says about it, beside the model in its folder."""

import json
import math
from typing import Annotated, Literal

import msgspec

from glet.types.model import ModelSpec, Signature, TensorSpec, check_signature

RunnerChoice = Literal["auto", "compiled", "python"]


class ModelConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a `model.toml`.

    `slo_ms` is from arrival to answer. `runner` is a choice only for `model.pt2`: `auto` compiles
    it and falls back to Python where that fails, `compiled` refuses the fallback, `python` never
    compiles. `samples` names an .npz with an array (n, ...) per input and, optionally, `labels`
    (n,); `labels` names a text file with the classes, one a line.
    """

    slo_ms: float
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    input: tuple[TensorSpec, ...]
    output: tuple[TensorSpec, ...]
    runner: RunnerChoice = "auto"
    description: str = ""
    samples: str = ""
    labels: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slo_ms) and self.slo_ms > 0):
            raise ValueError(f"slo_ms is {self.slo_ms}; it must be above 0")
        check_signature(self.input, self.output)

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


def to_toml(config: ModelConfig) -> str:
    """The text of a `model.toml` that reads back as `config`; defaults are left out."""
    lines = [f"slo_ms = {config.slo_ms!r}", f"max_batch = {config.max_batch}"]
    for key in ("runner", "description", "samples", "labels"):
        value = getattr(config, key)
        if value not in ("", "auto"):
            lines.append(f"{key} = {quoted(value)}")
    for role, specs in (("input", config.input), ("output", config.output)):
        for spec in specs:
            lines += ["", f"[[{role}]]", f"name = {quoted(spec.name)}"]
            lines += [f"dtype = {quoted(spec.dtype)}", f"shape = {list(spec.shape)}"]
    return "\n".join(lines) + "\n"


def quoted(text: str) -> str:
    """A string as TOML writes it."""
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too. Astral characters stay
    # as they are: JSON would write them as two surrogates.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
