"""What models are compiled for: the CPU of this machine, or a GPU in it. Never imports torch."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from glet.errors import DeviceError
from glet.serve.compile_cache import this_machine
from glet.serve.executor_env import PlainEnv
from glet.serve.gpus import ask_driver
from glet.serve.repository import Entry, Form
from glet.serve.torch_path import find_torch
from glet.types.device import DeviceInfo

# Of what is compiled for GPUs: other ways to compile are another number.
FORMAT = 1


class CompileTarget(msgspec.Struct, frozen=True, kw_only=True):
    """`key` is what code for it depends on; `environment` is added to a process that compiles.

    `uncompiled`: what serves a model there that was not compiled.
    """

    says: str
    key: str
    uncompiled: Literal["python", "graph"]
    environment: Mapping[str, str] = {}

    @property
    def on_gpu(self) -> bool:
        """Whether it is a GPU."""
        return self.uncompiled == "graph"

    def key_of(self, entry: Entry) -> str:
        """What the code depends on besides the program: the target, and how it computes there."""
        if not self.on_gpu:
            return self.key
        return f"{self.key}\n{entry.config.precision} channels_last={entry.config.channels_last}"

    def why_not(self, entry: Entry) -> str:
        """Why an entry is not for the compiler at all, or ''."""
        if entry.form is not Form.PROGRAM:
            return f"{entry.form.value} is not an exported program (model.pt2)"
        if entry.config.runner == "python":
            return "model.toml says runner = 'python'"
        if self.on_gpu and not compiles_on_gpu(entry):
            return "model.toml does not say compile = 'aoti'"
        return ""


def cpu_target() -> CompileTarget:
    """The CPU."""
    return CompileTarget(says="cpu", key=this_machine(), uncompiled="python")


def gpu_target(device: DeviceInfo | None = None) -> CompileTarget:
    """That GPU, or the first one that this process sees.

    The host's side of the code depends on the CPU, the kernels on the compute capability.
    Raises DeviceError where there is none, or no torch.
    """
    environment = PlainEnv(device).variables(()) if device is not None else {}
    probe = ask_driver(environment)
    if not probe.devices:
        raise DeviceError(f"there is no GPU to compile for: {probe.reason or 'none is visible'}")
    gpu, torch = probe.devices[0], find_torch()
    lines = (
        this_machine(),
        f"GPU {FORMAT}",
        f"compute capability {gpu.compute_capability}",
        f"CUDA {torch.cuda}",
    )
    return CompileTarget(
        says=f"{gpu.name} ({gpu.compute_capability})",
        key="\n".join(lines),
        uncompiled="graph",
        environment=environment,
    )


def compiles_on_gpu(entry: Entry) -> bool:
    """Whether its owner wants it compiled where it runs on a GPU."""
    return entry.config.compile == "aoti" and entry.form is Form.PROGRAM
