"""An app: a small graph of models that is served as one request."""

from typing import Annotated

import msgspec
from msgspec import Meta

from glet.types.model import Signature, TensorSpec

MOST_TENSORS = 64
MOST_STAGES = 32
MOST_ROWS = 64
MOST_PARTS = 256
MOST_BYTES = 256 << 20
"""Limits of one app: inputs and outputs, stages, rows of one stage, requests of all stages, bytes
of all tensors of one request. All but the first are csrc/glet/net/app_graph.h's too."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor inside an app: an input of the app (`stage` is empty), or an output of a stage."""

    stage: str = ""
    tensor: str

    def __str__(self) -> str:
        return f"{self.stage}.{self.tensor}" if self.stage else self.tensor


class StageInput(msgspec.Struct, frozen=True, kw_only=True):
    """What an input of the stage's model is. `split`: each request takes its own row of it."""

    name: str
    source: Source
    split: bool = False


class AppStage(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of one model. `each` is 0 for a single one, else how many: one per row.

    `inputs` are in the order of the model's signature; `outputs` are those of ONE request.
    """

    name: str
    model: str
    each: Annotated[int, Meta(ge=0, le=MOST_ROWS)] = 0
    inputs: tuple[StageInput, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def fan_out(self) -> int:
        """Requests of the model per request of the app."""
        return max(self.each, 1)

    @property
    def needs(self) -> frozenset[str]:
        """Names of the stages that end before this one begins."""
        return frozenset(each.source.stage for each in self.inputs if each.source.stage)


class AppSpec(msgspec.Struct, frozen=True, kw_only=True):
    """An app as everything above its file knows it; `slo_ms` is from arrival to answer.

    `stages` are in an order in which each takes only from those before it. `outputs` say where the
    outputs of `signature` come from, in its order.
    """

    name: str
    signature: Signature
    slo_ms: Annotated[float, Meta(gt=0.0, le=1e18)]
    stages: tuple[AppStage, ...]
    outputs: tuple[Source, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.stages) <= MOST_STAGES:
            raise ValueError(f"an app has 1 to {MOST_STAGES} stages, not {len(self.stages)}")
        if len(self.outputs) != len(self.signature.outputs):
            raise ValueError("an app has a source for each of its outputs")
        known = {Source(tensor=spec.name) for spec in self.signature.inputs}
        for stage in self.stages:
            sources = {each.source for each in stage.inputs}
            made = {Source(stage=stage.name, tensor=spec.name) for spec in stage.outputs}
            if not (stage.name and sources <= known) or made & known:
                raise ValueError(f"stage {stage.name!r} takes what is not there before it")
            known |= made
        if not known.issuperset(self.outputs):
            raise ValueError("an output comes from nowhere")

    def models(self) -> tuple[str, ...]:
        """Names of the models it uses, each once, sorted."""
        return tuple(sorted({stage.model for stage in self.stages}))


def gathered(spec: TensorSpec, each: int) -> TensorSpec:
    """What all requests of a stage make of this output: with `each`, a first axis of rows."""
    if not each:
        return spec
    return TensorSpec(name=spec.name, dtype=spec.dtype, shape=(each, *spec.shape))
