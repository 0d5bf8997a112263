"""A model as the Open Inference Protocol shows it: metadata, configuration, statistics. Pure.

`model` is an entry of what a frontend answers to `models` (wire/README.md, section 4), `counted`
the counters of one model in `stats()` of the core's FrontendLoop.
"""

from collections.abc import Mapping
from typing import Any

from glet.types.device import GPU_KINDS

VERSION = "1"
MOST_ITEMS = 256
"""Items of one request of the protocol; the same as in csrc/glet/web/oip_call.h."""

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bfloat16": "BF16",
    "bytes": "BYTES",
}
"""dtype of a signature -> datatype of the protocol."""

PLATFORMS = {
    "compiled": "glet_compiled",
    "python": "glet_python",
    "graph": "glet_cuda_graph",
    "eager": "glet_eager",
    "profiled": "glet_emulated",
}
INDEX_STATES = {
    "serving": "READY",
    "loading": "LOADING",
    "compiling": "LOADING",
    "draining": "UNLOADING",
}
REASONS = {
    "loading": "is being loaded",
    "compiling": "is being compiled",
    "draining": "is being unloaded",
    "known": "is in no plan; load it",
    "unloaded": "unloaded",
}


def metadata(name: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """ModelMetadataResponse. Shapes begin with the batch dimension, which is free."""
    return {
        "name": name,
        "versions": [VERSION],
        "platform": platform(model),
        "inputs": [_tensor(tensor) for tensor in model["inputs"]],
        "outputs": [_tensor(tensor) for tensor in model["outputs"]],
    }


def config(name: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """ModelConfig: what model_config.proto has and glet knows."""
    batches = sorted({gpulet["batch"] for gpulet in model["gpulets"]})
    return {
        "name": name,
        "platform": platform(model),
        "backend": "glet",
        "version_policy": {"specific": {"versions": [int(VERSION)]}},
        "max_batch_size": model["max_batch"] or MOST_ITEMS,
        "input": [
            {
                **_config_tensor(tensor),
                "format": "FORMAT_NONE",
                "is_shape_tensor": False,
                "allow_ragged_batch": False,
                "optional": False,
            }
            for tensor in model["inputs"]
        ],
        "output": [
            {**_config_tensor(tensor), "label_filename": "", "is_shape_tensor": False}
            for tensor in model["outputs"]
        ],
        "dynamic_batching": {
            "preferred_batch_size": batches,
            "max_queue_delay_microseconds": 0,
            "preserve_ordering": False,
            "default_queue_policy": {
                "timeout_action": "REJECT",
                "default_timeout_microseconds": round(model["slo_ms"] * 1000.0),
                "allow_timeout_override": True,
            },
        },
        "instance_group": [_instance(name, gpulet) for gpulet in model["gpulets"]],
        "parameters": {
            "slo_ms": {"string_value": f"{model['slo_ms']:g}"},
            **{
                f"stage:{stage['stage']}": {
                    "string_value": f"{stage['model']} x {stage['requests']}, "
                    f"{stage['budget_ms']:g} ms"
                }
                for stage in model.get("stages", ())
            },
        },
        "model_transaction_policy": {"decoupled": False},
    }


def platform(model: Mapping[str, Any]) -> str:
    """What computes it; `glet` until that is known."""
    if "stages" in model:
        return "glet_app"
    runners = [gpulet["runner"] for gpulet in model["gpulets"] if gpulet["runner"]]
    return PLATFORMS.get(runners[0], "glet") if runners else "glet"


def index_row(name: str, model: Mapping[str, Any]) -> dict[str, Any]:
    """One ModelIndex of a repository."""
    state = INDEX_STATES.get(model["state"], "UNAVAILABLE")
    error = model["error"] if state == "UNAVAILABLE" else ""
    reason = error or REASONS.get(model["state"], "")
    return {"name": name, "version": VERSION, "state": state, "reason": reason}


def statistics(
    name: str, model: Mapping[str, Any], counted: Mapping[str, Any], wall_ms: float
) -> dict[str, Any]:
    """ModelStatistics of what one frontend answered. `wall_ms`: now, since 1970.

    A request here is one item; one of several items counts as many. Getting the outputs out is
    part of `compute_infer`, and so `compute_output` is 0.
    """
    ok = int(counted.get("ok", 0))
    failed = sum(
        int(counted.get(kind, 0))
        for kind in ("late", "full", "failed", "unavailable", "invalid", "cancelled")
    )
    batches = [_Batches(*row) for row in counted.get("batches", ())]
    last_ago_ms = counted.get("last_ago_ms")
    return {
        "name": name,
        "version": VERSION,
        "last_inference": 0 if last_ago_ms is None else max(0, round(wall_ms - last_ago_ms)),
        "inference_count": ok,
        "execution_count": sum(each.count for each in batches),
        "inference_stats": {
            "success": _duration(ok, counted.get("ok_ns", 0)),
            "fail": _duration(failed, counted.get("refused_ns", 0)),
            "queue": _duration(ok, counted.get("queue_ns", 0)),
            "compute_input": _duration(ok, counted.get("batch_ns", 0)),
            "compute_infer": _duration(ok, counted.get("execute_ns", 0)),
            "compute_output": _duration(ok, 0),
            "cache_hit": _duration(0, 0),
            "cache_miss": _duration(0, 0),
        },
        "batch_stats": [
            {
                "batch_size": each.size,
                "compute_input": _duration(each.count, each.batch_ns),
                "compute_infer": _duration(each.count, each.execute_ns),
                "compute_output": _duration(each.count, 0),
            }
            for each in batches
        ],
        "memory_usage": [
            {
                "type": "GPU" if gpulet["kind"] in GPU_KINDS else "CPU",
                "id": gpulet["device"],
                "byte_size": round(gpulet["memory_mb"] * 1e6),
            }
            for gpulet in model["gpulets"]
            if gpulet["memory_mb"] > 0.0
        ],
        "response_stats": {},
    }


class _Batches:
    """Batches of one size. The core counts their requests: each brings its batch's times along."""

    def __init__(self, size: int, items: int, batch_ns: int, execute_ns: int) -> None:
        self.size = size
        # Of a batch whose requests came through several frontends each has a part.
        self.count = -(-items // size)
        self.batch_ns = batch_ns // size
        self.execute_ns = execute_ns // size


def _duration(count: int, ns: float) -> dict[str, int]:
    return {"count": count, "ns": max(0, round(ns))}


def _tensor(tensor: list[Any]) -> dict[str, Any]:
    name, dtype, shape = tensor
    return {"name": name, "datatype": DATATYPES[dtype], "shape": [-1, *shape]}


def _config_tensor(tensor: list[Any]) -> dict[str, Any]:
    name, dtype, shape = tensor
    # Of text model_config.proto says STRING where the protocol says BYTES.
    kind = "STRING" if dtype == "bytes" else DATATYPES[dtype]
    return {"name": name, "data_type": f"TYPE_{kind}", "dims": list(shape)}


def _instance(name: str, gpulet: Mapping[str, Any]) -> dict[str, Any]:
    on_gpu = gpulet["kind"] in GPU_KINDS
    return {
        "name": f"{name}_{gpulet['backend']}_{gpulet['gpulet']}",
        "kind": "KIND_GPU" if on_gpu else "KIND_CPU",
        "count": 1,
        "gpus": [gpulet["device"]] if on_gpu else [],
    }


def on_gpu(models: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether any of them is served on a GPU."""
    return any(
        gpulet["kind"] in GPU_KINDS for model in models.values() for gpulet in model["gpulets"]
    )
