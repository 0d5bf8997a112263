"""Checks of GPUs. They read and compute; no mode, daemon or setting of a card is touched."""

import os
import sys
from importlib import import_module
from typing import Any, TypeVar

import msgspec

from glet.errors import DeviceError
from glet.native import core
from glet.serve.doctor_finding import Finding, Wish, found
from glet.serve.doctor_gpu_torch import GEMM_TOLERANCES, AboutTorch, Gemm
from glet.serve.doctor_program import ask_program
from glet.serve.gpus import CORE_TAG, NODE, CudaProbe

T = TypeVar("T")

HIDING = ("", "-1", "NoDevFiles")
TORCH_LIMIT_S = 90.0
DEFAULT_MODE = 0
COMPUTE_MODES = {0: "Default", 1: "Exclusive_Thread", 2: "Prohibited", 3: "Exclusive_Process"}


def driver(wish: Wish) -> Finding:
    """The CUDA driver and its devices, found without torch."""
    probe = msgspec.convert(core.cuda_probe(), CudaProbe)
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") in HIDING:
        return found("skipped", "CUDA_VISIBLE_DEVICES hides all GPUs", probe)
    return judge_driver(probe, has_node=NODE.exists())


def judge_driver(probe: CudaProbe, *, has_node: bool) -> Finding:
    """`has_node`: the kernel knows an NVIDIA GPU, so that a driver library ought to be there."""
    why, _, advice = CORE_TAG.sub("", probe.why).partition("; ")
    if not probe.devices and has_node:
        do = (
            "install the driver's libraries; in a container, start it with the NVIDIA toolkit: "
            "docker run --gpus all"
        )
        return found("failed", f"a GPU is here, but cannot be used: {why}", probe, do)
    if not probe.devices:
        return found("skipped", f"no NVIDIA GPU here{f' ({why})' if why else ''}", probe)
    says = f"CUDA {probe.driver} driver; {'; '.join(gpu.says for gpu in probe.devices)}"
    if not probe.available:
        return found(
            "warning",
            f"{says}; it cannot be split into gpulets: {why}",
            probe,
            advice or "update the driver: green contexts need CUDA 12.5 or newer",
        )
    return found("ok", says, probe)


def gpu_torch(wish: Wish) -> Finding:
    """Torch is a CUDA build that works with this driver. Raises DeviceError."""
    probe = msgspec.convert(core.cuda_probe(), CudaProbe)
    about = ask_torch(AboutTorch, "about")
    return judge_gpu_torch(about, probe.driver)


def judge_gpu_torch(about: AboutTorch, driver_cuda: str) -> Finding:
    """A driver runs programs of its own CUDA major version and older ones."""
    do = "install a torch for this driver: see pytorch.org, 'Start locally'"
    if not about.cuda:
        says = f"torch {about.version} is a build without CUDA: models cannot run on the GPU"
        return found("warning", says, about, do)
    says = f"torch {about.version} for CUDA {about.cuda}"
    if _major(about.cuda) > _major(driver_cuda):
        says = f"{says} is too new for this driver, which has CUDA {driver_cuda}"
        return found("failed", says, about, f"{do}; or update the driver")
    if not about.available or about.devices < 1:
        says = f"{says} finds no device: {about.why or 'it does not say why'}"
        return found("failed", says, about, f"see CUDA_VISIBLE_DEVICES; {do}")
    return found("ok", f"{says} finds {about.devices} device{'s' * (about.devices != 1)}", about)


def gpu_numbers(wish: Wish) -> Finding:
    """A matrix product in every precision on the whole GPU. Raises DeviceError."""
    return judge_gpu_numbers(ask_torch(Gemm, "gemm", "cuda"))


def judge_gpu_numbers(gemm: Gemm) -> Finding:
    """cuBLAS has been seen to be wrong by 0.9 at some SM counts, where 0.003 is right."""
    if not gemm.devices:
        return found("skipped", "torch finds no GPU to compute on", gemm)
    errors = {name: _known(gemm.errors.get(name)) for name in GEMM_TOLERANCES}
    parts = ", ".join(f"{name} {error:.1e}" for name, error in errors.items())
    says = f"a {gemm.m}x{gemm.k}x{gemm.n} matrix product on the whole GPU is off by {parts}"
    wrong = [name for name, error in errors.items() if error > GEMM_TOLERANCES[name]]
    if wrong:
        says = f"{says}: {', '.join(wrong)} cannot be trusted"
        do = "do not serve on this GPU; try another torch and driver"
        return found("failed", says, gemm, do)
    return found("ok", says, gemm)


def ask_torch(kind: type[T], *arguments: str) -> T:
    """Asks `glet.serve.doctor_gpu_torch`, which imports torch, in a process of its own."""
    command = [sys.executable, "-m", "glet.serve.doctor_gpu_torch", *arguments]
    reply = ask_program(command, TORCH_LIMIT_S)
    if reply.code is None:
        raise DeviceError(f"torch did not answer in {TORCH_LIMIT_S:g} s: the driver may hang")
    if reply.code != 0:
        raise DeviceError(f"torch failed on the GPU: {reply.last_line}")
    try:
        return msgspec.json.decode(reply.last_line, type=kind)
    except msgspec.DecodeError as error:
        raise DeviceError(f"torch gave no answer: {reply.last_line}") from error


class NvmlDevice(msgspec.Struct, frozen=True, kw_only=True):
    """What the management library says; `mig` is None where the card has no MIG."""

    name: str
    compute_mode: int
    mig: bool | None
    gpm: bool


class Nvml(msgspec.Struct, frozen=True, kw_only=True):
    """`problem` says why the library cannot be asked; `installed`: its Python side is there."""

    installed: bool
    problem: str = ""
    driver: str = ""
    devices: tuple[NvmlDevice, ...] = ()


def look_at_nvml() -> Nvml:
    """Reads; NVML can also change cards, which this never does."""
    try:
        nvml = import_module("pynvml")
    except ImportError:
        return Nvml(installed=False)
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return Nvml(installed=True, problem=str(error))
    try:
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        devices = tuple(_nvml_device(nvml, handle) for handle in handles)
        version = str(nvml.nvmlSystemGetDriverVersion())
        return Nvml(installed=True, driver=version, devices=devices)
    except nvml.NVMLError as error:
        return Nvml(installed=True, problem=str(error))
    finally:
        nvml.nvmlShutdown()


def _nvml_device(nvml: Any, handle: Any) -> NvmlDevice:
    try:
        mig: bool | None = nvml.nvmlDeviceGetMigMode(handle)[0] == nvml.NVML_DEVICE_MIG_ENABLE
    except nvml.NVMLError:
        mig = None
    try:
        gpm = bool(nvml.nvmlGpmQueryDeviceSupport(handle).isSupportedDevice)
    except nvml.NVMLError:
        gpm = False
    return NvmlDevice(
        name=str(nvml.nvmlDeviceGetName(handle)),
        compute_mode=int(nvml.nvmlDeviceGetComputeMode(handle)),
        mig=mig,
        gpm=gpm,
    )


def gpu_mode(wish: Wish) -> Finding:
    """Compute mode and MIG, as they are."""
    return judge_gpu_mode(look_at_nvml())


def judge_gpu_mode(nvml: Nvml) -> Finding:
    """Several processes have to be able to use a card; a card cut by MIG is a smaller card."""
    unknown = _unknown(nvml)
    if unknown is not None:
        return unknown
    for index, device in enumerate(nvml.devices):
        if device.compute_mode != DEFAULT_MODE:
            mode = COMPUTE_MODES.get(device.compute_mode, str(device.compute_mode))
            return found(
                "failed" if mode == "Prohibited" else "warning",
                f"device {index} is in compute mode {mode}: not every process may use it",
                nvml,
                f"ask its owner for nvidia-smi -i {index} -c DEFAULT; glet never changes it",
            )
    for index, device in enumerate(nvml.devices):
        if device.mig:
            return found(
                "warning",
                f"device {index} is cut by MIG: glet sees one instance of it",
                nvml,
                "ask its owner for a whole card; glet never changes MIG",
            )
    return found("ok", f"driver {nvml.driver}; compute mode Default, no MIG", nvml)


def counters(wish: Wish) -> Finding:
    """NVML answers, and has the hardware counters of memory traffic (GPM)."""
    return judge_counters(look_at_nvml())


def judge_counters(nvml: Nvml) -> Finding:
    """GPM is of Hopper and newer."""
    unknown = _unknown(nvml)
    if unknown is not None:
        return unknown
    without = [str(index) for index, device in enumerate(nvml.devices) if not device.gpm]
    if without:
        return found(
            "warning",
            f"device {', '.join(without)} has no GPM counters: memory traffic cannot be measured",
            nvml,
            "nothing: GPM needs a Hopper card or newer, and may be hidden in a sandbox",
        )
    return found("ok", "NVML answers, with GPM counters of memory traffic", nvml)


def _unknown(nvml: Nvml) -> Finding | None:
    if not nvml.installed:
        says = "cannot be asked: NVML's Python side is not installed"
        return found("skipped", says, nvml, "pip install 'glet[gpu]'")
    if nvml.problem:
        says = f"NVML does not answer: {nvml.problem}"
        return found("warning", says, nvml, "see that libnvidia-ml.so.1 is there and of the driver")
    return None


def _known(error: float | None) -> float:
    return float("inf") if error is None else error


def _major(version: str) -> int:
    head = version.partition(".")[0]
    return int(head) if head.isdigit() else 0
