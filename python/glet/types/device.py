"""A device: one GPU, or the CPU of a host treated as one."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

PartitionKind = Literal["green", "mps", "cpu", "profiled"]
PARTITION_KINDS: tuple[PartitionKind, ...] = ("green", "mps", "cpu", "profiled")
PartitionChoice = Literal["auto", "green", "mps", "cpu", "profiled"]
PARTITION_CHOICES: tuple[PartitionChoice, ...] = ("auto", *PARTITION_KINDS)
Natural = Annotated[int, Meta(ge=0, le=2**31 - 1)]
GPU_KINDS: tuple[PartitionKind, ...] = ("green", "mps")
# Contexts that one MPS server takes per device; newer drivers take 60 (NVIDIA, MPS, "Limitations").
MPS_CLIENTS = 48


class DeviceInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend knows of its device.

    `cores` are the numbers of the CPU cores it may use (only of kind `cpu`). Shares are given in
    steps of `granularity_pct`, rounded down. `memory_mb` is 0 where it is not known. `emulated`
    devices take as long as a profile says and compute nothing.

    Of a GPU: `gpu` is how CUDA_VISIBLE_DEVICES names it, `product` its name, and its `sms` are
    `units` sets of `unit_sms` neighbours, and `remainder_sms` that fill no unit. Of `bad_units`,
    counts of them, none is to be given: results were wrong there.
    """

    name: str
    kind: PartitionKind
    type: str
    cores: tuple[Natural, ...] = ()
    granularity_pct: Annotated[float, Meta(gt=0.0, le=100.0)] = 1.0
    memory_mb: Natural = 0
    emulated: bool = False
    gpu: str = ""
    product: str = ""
    sms: Natural = 0
    units: Natural = 0
    unit_sms: Natural = 0
    remainder_sms: Natural = 0
    bad_units: tuple[int, ...] = ()

    @property
    def max_gpulets(self) -> int:
        """How many gpulets of the smallest share the device can hold; 100 when `profiled`.

        A share is a whole percentage: a third of 3 cores is 34 %, so two such fit.
        """
        if self.kind == "mps":
            return MPS_CLIENTS
        if self.kind == "profiled":
            return 100
        parts = self.units if self.kind == "green" else len(self.cores)
        return 100 // -(-100 // parts) if parts else 0

    @property
    def resizes(self) -> bool:
        """Whether a gpulet can change its share; else another one is made beside it."""
        return self.kind != "mps"

    @property
    def left_out(self) -> str:
        """Which of its shares are not given, and why, in one line; '' for all are."""
        if not self.bad_units:
            return ""
        counts = ", ".join(str(count) for count in self.bad_units)
        return (
            f"{self.name}: shares of {counts} of {self.units} units are left out, "
            "glet doctor found wrong numbers there"
        )

    @property
    def says(self) -> str:
        """What it is, for people: `2 cores`, `NVIDIA H200, 132 SMs`."""
        if self.kind in GPU_KINDS:
            return f"{self.product}, {self.sms} SMs"
        if self.kind == "cpu":
            return f"{len(self.cores)} cores"
        return "emulated"


class DeviceUsage(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a device is used, by whomever. `utilization` is 0..1, of about a second."""

    memory_mb: Annotated[float, Meta(ge=0.0, le=1e18)]
    utilization: Annotated[float, Meta(ge=0.0, le=1e18)]
