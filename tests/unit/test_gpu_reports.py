"""What reports say of a gpulet on a GPU: the GPU's name and SMs in place of cores."""

import io

import pytest
from rich.console import Console

from glet.cli.demo import show_gpulets
from glet.cli.load import device_of
from glet.serve.frontend_report import models_body, stats_body
from glet.serve.profiler_machine import machine_of
from glet.serve.route_table import Routing
from glet.types.device import DeviceInfo, PartitionKind
from glet.types.units import Units
from glet.wire.messages import BackendState, GpuletState, LoadedModel


def state(kind: PartitionKind, units: Units | None, given_pct: float) -> BackendState:
    device = DeviceInfo(
        name="gpu0",
        kind=kind,
        type="h200",
        gpu="0",
        product="NVIDIA H200",
        memory_mb=143_000,
        sms=132,
        units=15,
        unit_sms=8,
        remainder_sms=12,
    )
    gpulet = GpuletState(
        gpulet=3,
        executor=0,
        share_pct=50,
        given_pct=given_pct,
        state="ready",
        units=units,
        models=(LoadedModel(name="lenet", model=0, batch=4, state="ready"),),
    )
    return BackendState(
        seq=1, name="gpu0", incarnation="x", number=0, device=device, gpulets=(gpulet,)
    )


@pytest.mark.parametrize(
    ("told", "place"),
    [
        (state("green", Units(7, 7), 100.0 * 56 / 132), "units 7..13, 56 SMs"),
        (state("mps", None, 50.0), "at most 66 SMs"),
    ],
)
def test_a_gpu_is_told_by_name_and_sms(told: BackendState, place: str) -> None:
    stats = stats_body({"gpu0": told}, frozenset(), {}, 1.0)
    (backend,) = stats["backends"]
    assert (backend["product"], backend["sms"], backend["memory_mb"]) == (
        "NVIDIA H200",
        132,
        143_000,
    )
    assert device_of(stats) == "NVIDIA H200, 132 SMs"
    assert machine_of(told.device).endswith(", NVIDIA H200, 132 SMs, 143 GB")
    out = io.StringIO()
    show_gpulets(stats, Console(file=out, width=200))
    assert out.getvalue() == f"gpulet 3: 50 % of gpu0, {place}: lenet\n"
    (gpulet,) = models_body({"gpu0": told}, Routing())["lenet"]["gpulets"]
    assert (gpulet["product"], gpulet["sms"]) == ("NVIDIA H200", stats["gpulets"][0]["sms"])


def test_units_are_told_as_they_are() -> None:
    stats = stats_body({"g": state("green", Units(0, 15, True), 100.0)}, frozenset(), {}, 1.0)
    (gpulet,) = stats["gpulets"]
    assert gpulet["units"] == {"first": 0, "count": 15, "remainder": True}
    assert (gpulet["sms"], gpulet["cores"]) == (132, ())
