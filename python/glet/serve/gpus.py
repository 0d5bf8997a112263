"""The GPUs of this machine, asked in a process of its own: nobody else opens the driver for it.

A driver reads its environment when it is opened, and may hang then. So daemons leave it alone, and
ask `python -m glet.serve.gpus`, which prints a CudaProbe as JSON.
"""

import ctypes
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from glet.config.cluster import BackendConfig, backend_name
from glet.errors import ConfigError, DeviceError
from glet.native import core
from glet.serve.child import python
from glet.serve.doctor_program import ask_program
from glet.serve.share_gate import bad_units
from glet.serve.torch_path import find_torch
from glet.types.device import DeviceInfo, PartitionKind

NODE = Path("/dev/nvidiactl")
LIBRARY = "libcuda.so.1"
MPS_CONTROL = "nvidia-cuda-mps-control"
VISIBLE = "CUDA_VISIBLE_DEVICES"
ORDER = "CUDA_DEVICE_ORDER"
PROBE_LIMIT_S = 30.0
# Where in the core an error was thrown: for who reads its source.
CORE_TAG = re.compile(r"\[[\w.]+\] ")


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One device as the driver tells it. `units` of `unit_sms` can be split off for gpulets."""

    name: str
    sms: int
    memory_mb: int
    compute_capability: str
    units: int
    unit_sms: int
    remainder_sms: int

    @property
    def says(self) -> str:
        """In words, for people."""
        if self.units == 0:
            return f"{self.name}, {self.memory_mb} MiB, {self.sms} SMs"
        rest = f" and {self.remainder_sms} left over" if self.remainder_sms else ""
        return (
            f"{self.name}, {self.memory_mb} MiB, {self.sms} SMs in {self.units} units of "
            f"{self.unit_sms}{rest}"
        )


class CudaProbe(msgspec.Struct, frozen=True, kw_only=True):
    """`available`: gpulets can be made on every device; `why` not. `driver`: its CUDA version."""

    available: bool
    why: str
    driver: str
    devices: tuple[Gpu, ...]

    @property
    def reason(self) -> str:
        """`why` for people: the sentence before its advice."""
        return CORE_TAG.sub("", self.why).partition("; ")[0]


class GpuFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether models can be served on GPUs here.

    `mps_control` is the path of MPS's control program, or empty. `torch_problem` says why torch
    cannot use a GPU, or is empty. `has_node`: the kernel knows an NVIDIA GPU.
    """

    probe: CudaProbe
    mps_control: str = ""
    torch_problem: str = ""
    has_node: bool = False


def gpu_facts() -> GpuFacts:
    """Of this process's environment. Raises DeviceError when the driver does not answer."""
    return GpuFacts(
        probe=ask_driver({}),
        mps_control=shutil.which(MPS_CONTROL) or "",
        torch_problem=torch_problem(),
        has_node=NODE.exists(),
    )


def ask_driver(extra: Mapping[str, str]) -> CudaProbe:
    """What the driver says under this environment. Raises DeviceError when it does not answer."""
    if not has_driver():
        why = f"{LIBRARY} is not there"
        return CudaProbe(available=False, why=why, driver="", devices=())
    reply = ask_program(
        python("glet.serve.gpus"),
        PROBE_LIMIT_S,
        environment={**as_nvidia_smi_counts(os.environ), **os.environ, **extra},
    )
    if reply.code is None:
        raise DeviceError(f"the CUDA driver did not answer in {PROBE_LIMIT_S:g} s: it may hang")
    try:
        return msgspec.json.decode(reply.last_line, type=CudaProbe)
    except msgspec.DecodeError as error:
        raise DeviceError(f"the CUDA driver could not be asked: {reply.last_line}") from error


def as_nvidia_smi_counts(environment: Mapping[str, str]) -> dict[str, str]:
    """Has CUDA count GPUs by their slot, and not the fastest first, unless told otherwise."""
    return {ORDER: environment.get(ORDER, "PCI_BUS_ID")}


def has_driver() -> bool:
    """Whether there is a driver to open; it is not opened (no cuInit)."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def torch_problem() -> str:
    """Why torch cannot use a GPU, or ''. Torch is not imported."""
    try:
        torch = find_torch()
    except DeviceError as error:
        return str(error)
    if not torch.libtorch_cpu.with_name("libtorch_cuda.so").is_file():
        return f"torch {torch.version} is a build without CUDA"
    return ""


def visible_name(gpu: str, environment: Mapping[str, str]) -> str:
    """How CUDA_VISIBLE_DEVICES has to name a GPU so that a child sees it alone.

    `gpu` is a UUID, or an index into what this process sees. Raises ConfigError for an index
    beyond that.
    """
    if not gpu.isdigit() or VISIBLE not in environment:
        return gpu
    seen = [entry.strip() for entry in environment[VISIBLE].split(",") if entry.strip()]
    if int(gpu) >= len(seen):
        raise ConfigError(
            f"gpu {gpu!r} cannot be seen: {VISIBLE} has {len(seen)} GPU{'s' * (len(seen) != 1)}; "
            + (f"valid are 0 to {len(seen) - 1}" if seen else "unset it")
        )
    return seen[int(gpu)]


def gpu_device(kind: PartitionKind, config: BackendConfig) -> DeviceInfo:
    """The GPU of a backend. Raises ConfigError when it is not there, or cannot be cut that way."""
    name = backend_name(config)
    wanted = config.gpu or str(config.device)
    visible = visible_name(wanted, os.environ)
    probe = ask_driver({VISIBLE: visible})
    if not probe.devices:
        why = f" ({probe.reason})" if probe.reason else ""
        raise ConfigError(
            f"backend {name}: there is no GPU {wanted!r}{why}; give `gpu` an index or a UUID of "
            "nvidia-smi -L"
        )
    gpu = probe.devices[0]
    if kind == "green" and gpu.units == 0:
        raise ConfigError(
            f"backend {name}: {gpu.name} cannot be cut by green contexts: {probe.reason}; "
            "valid here are mps, cpu, profiled"
        )
    return DeviceInfo(
        name=name,
        kind=kind,
        type=config.type or device_type(gpu.name),
        granularity_pct=100.0 / gpu.units if kind == "green" else 1.0,
        memory_mb=gpu.memory_mb,
        gpu=visible,
        product=gpu.name,
        sms=gpu.sms,
        units=gpu.units,
        unit_sms=gpu.unit_sms,
        remainder_sms=gpu.remainder_sms,
        bad_units=bad_units(gpu.name, probe.driver, gpu.unit_sms) if kind == "green" else (),
    )


def device_type(product: str) -> str:
    """The folder name of a product: `NVIDIA H100 80GB HBM3` is `h100-80gb-hbm3`."""
    words = re.findall(r"[a-z0-9]+", product.lower().removeprefix("nvidia "))
    return "-".join(words) or "gpu"


def main() -> int:
    """Prints what the driver of this process says."""
    sys.stdout.write(f"{msgspec.json.encode(core.cuda_probe()).decode()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
