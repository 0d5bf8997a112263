"""Where a bed's models come from: a profile that is emulated, or a repository."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from lines import say
from study import Study

from glet.clock import Clock
from glet.config.load import nearest
from glet.config.model import CompileChoice
from glet.errors import ConfigError
from glet.serve.compile import Progress
from glet.serve.compile_cache import Cache, default_cache
from glet.serve.profiler_device import CpuTarget, GpuTarget, Target
from glet.serve.repository import Repository
from glet.types.device import GPU_KINDS, DeviceInfo
from glet.types.model import Signature, TensorSpec
from glet.wire.messages import ModelSource

# A model of an emulated device has no weights and no real inputs: four floats in and out.
EMULATED_SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", dtype="float32", shape=(4,)),),
    outputs=(TensorSpec(name="y", dtype="float32", shape=(4,)),),
)


class Models(Protocol):
    """Where models come from."""

    def source(self, model: str, share_pct: int) -> ModelSource: ...


class EmulatedModels:
    """Models that take as long as the study's profile says."""

    def __init__(self, study: Study) -> None:
        self._study = study

    def source(self, model: str, share_pct: int) -> ModelSource:
        table = self._study.profile.model(model).tables((share_pct,))[0].tolist()
        return ModelSource(
            name=model,
            runner="profiled",
            signature=EMULATED_SIGNATURE,
            slo_ms=1.0,
            max_batch=len(table),
            compute_ms=tuple(enumerate(table, start=1)),
        )


class StoredModels:
    """Models of a repository, compiled for this machine once. lenet stands for lenet1 to lenet6."""

    def __init__(
        self,
        folder: Path,
        names: Sequence[str],
        info: DeviceInfo,
        clock: Clock,
        compile_by: CompileChoice | None = None,
    ) -> None:
        """`compile_by` holds in place of what each model.toml says.

        Raises ConfigError for a model that is not there or cannot be compiled.
        """
        repository = Repository(folder)
        there = repository.names()
        kind = GpuTarget if info.kind in GPU_KINDS else CpuTarget
        self._target: Target = kind(info, Cache(default_cache(), clock), clock)
        self._entries = {}
        for name in names:
            base = name if name in there else name.rstrip("0123456789")
            if base not in there:
                raise ConfigError(f"{folder}: has no model {name!r}; {nearest(name, there)}")
            entry = repository.entry(base)
            config = msgspec.structs.replace(
                entry.config, compile=compile_by or entry.config.compile
            )
            self._entries[name] = msgspec.structs.replace(entry, config=config)
        unique = {entry.name: entry for entry in self._entries.values()}
        failed = self._target.prepare(list(unique.values()), self._tell)
        if failed:
            raise ConfigError(next(iter(failed.values())))

    def source(self, model: str, share_pct: int) -> ModelSource:
        return self._target.source(self._entries[model], share_pct)

    @staticmethod
    def _tell(progress: Progress) -> None:
        say(progress.line())
