"""How each server is started, and what it is asked: one model, batching and 16 floats for all."""

import json
import os
import socket
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SERVERS = Path(__file__).resolve().parent / "servers"
MODELS = Path(__file__).resolve().parents[3] / "build" / "bench" / "models"
# The largest batch, and how long one may wait to fill.
BATCH = {"echo": (16, 1.0), "mlp": (8, 2.0)}
INPUT = [value / 8 for value in range(16)]


class Setting(NamedTuple):
    """A server with options. `options` are those of the function that starts it."""

    peer: str
    label: str = "default"
    options: dict[str, int] = {}  # noqa: RUF012  (never written)


class Site(NamedTuple):
    """Where a server runs: environments, a folder of its own, ports for HTTP, gRPC, and others."""

    home: Path
    work: Path
    model: str
    http: int
    grpc: int
    other: int

    def python(self, environment: str) -> str:
        return str(self.home / environment / "bin" / "python")


class Call(NamedTuple):
    """A gRPC method with its request, and bytes that a right answer of the echo contains."""

    method: str
    message: bytes
    answer: bytes


class Launch(NamedTuple):
    """What to run, and where and how it is asked. `grpc` is None where gRPC is not measured."""

    command: list[str]
    path: str
    body: dict[str, Any]
    env: dict[str, str] = {}  # noqa: RUF012  (never written)
    grpc: Call | None = None


def oip_path(model: str) -> str:
    return f"/v2/models/{model}/infer"


def oip_body(**parameters: int) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": INPUT}
    body: dict[str, Any] = {"inputs": [tensor]}
    return body | {"parameters": parameters} if parameters else body


def oip_call(model: str) -> Call:
    """ModelInfer with raw contents."""
    # Imported where it is used: setting a peer up takes no gRPC.
    from grpc_echo import METHOD, infer_message

    raw = np.array(INPUT, dtype="<f4").tobytes()
    return Call(METHOD, infer_message(model, raw), raw)


def torchserve_call(model: str) -> Call:
    """Predictions with the JSON body as its one input: model_name = 1, input = 3 (a map)."""
    entry = field(1, b"body") + field(2, json.dumps({"x": INPUT}).encode())
    return Call(
        "/org.pytorch.serve.grpc.inference.InferenceAPIsService/Predictions",
        field(1, model.encode()) + field(3, entry),
        str(INPUT[-1]).encode(),
    )


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field of protobuf."""
    size, length = len(content), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + content


def glet(site: Site, deadline_ms: int = 0) -> Launch:
    """One gpulet of one core and one worker thread; `deadline_ms` 0 is the model's own SLO."""
    config = site.work / "cluster.toml"
    config.write_text(
        f'listen = "ipc://{site.work}/clients"\n'
        f'http = "127.0.0.1:{site.http}"\ngrpc = "127.0.0.1:{site.grpc}"\n'
        f'models = "{MODELS}"\ncache = "{MODELS.parent / "cache"}"\npartition = "cpu"\n'
        "[[gpulet]]\nshare_pct = 50\n"
        f'models = [{{ model = "{site.model}", batch = {BATCH[site.model][0]} }}]\n',
        encoding="utf-8",
    )
    body = oip_body(timeout=deadline_ms * 1000) if deadline_ms else oip_body()
    command = [sys.executable, "-m", "glet.cli.main", "up", str(config), "--control", "static"]
    return Launch(command, oip_path(site.model), body, grpc=oip_call(site.model))


def mosec(site: Site, timeout_ms: int = 3000, capacity: int = 1024) -> Launch:
    command = [site.python("mosec"), str(SERVERS / "mosec_server.py"), "--address", "127.0.0.1"]
    command += ["--port", str(site.http), "--timeout", str(timeout_ms)]
    command += ["--capacity", str(capacity), "--log-level", "error"]
    return Launch(command, "/inference", {"x": INPUT})


def litserve(site: Site) -> Launch:
    command = [site.python("litserve"), str(SERVERS / "litserve_server.py"), str(site.http)]
    return Launch(command, "/predict", {"x": INPUT})


def mlserver(site: Site, workers: int = 1) -> Launch:
    max_batch, wait_ms = BATCH[site.model]
    settings = {"host": "127.0.0.1", "http_port": site.http, "grpc_port": site.grpc}
    settings |= {"metrics_port": site.other, "parallel_workers": workers, "debug": False}
    model = {"name": site.model, "implementation": "mlserver_model.Model"}
    model |= {"max_batch_size": max_batch, "max_batch_time": wait_ms / 1e3}
    (site.work / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (site.work / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    command = [str(site.home / "mlserver" / "bin" / "mlserver"), "start", str(site.work)]
    return Launch(command, oip_path(site.model), oip_body(), grpc=oip_call(site.model))


def pytriton(site: Site) -> Launch:
    ports = [str(port) for port in (site.http, site.grpc, site.other)]
    command = [site.python("triton"), str(SERVERS / "pytriton_server.py"), *ports]
    return Launch(
        command,
        oip_path(site.model),
        oip_body(),
        {"LD_LIBRARY_PATH": libpython_folder()},
        grpc=oip_call(site.model),
    )


def triton(site: Site, timeout_ms: int = 0, max_queue: int = 0) -> Launch:
    """The real tritonserver with its Python backend; 0 leaves a limit out."""
    version = site.work / "models" / site.model / "1"
    version.mkdir(parents=True)
    # The backend looks for modules beside the model.
    for source, name in (("triton_model.py", "model.py"), ("served.py", "served.py")):
        (version / name).write_bytes((SERVERS / source).read_bytes())
    return tritonserver(site, triton_config(site.model, "python", timeout_ms, max_queue))


def triton_c(site: Site) -> Launch:
    """The same tritonserver with a backend in C++ that answers with its input: the echo only."""
    (site.work / "models" / site.model / "1").mkdir(parents=True)
    return tritonserver(site, triton_config(site.model, "identity", 0, 0))


def tritonserver(site: Site, config: str) -> Launch:
    models = site.work / "models"
    (models / site.model / "config.pbtxt").write_text(config, encoding="utf-8")
    folder = site.home / "triton"
    server = folder / "server"
    command = [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={models}",
        f"--backend-directory={server / 'backends'}",
        "--allow-gpu-metrics=false", "--log-info=false", "--http-address=127.0.0.1",
        "--grpc-address=127.0.0.1", "--metrics-address=127.0.0.1",
        f"--http-port={site.http}", f"--grpc-port={site.grpc}", f"--metrics-port={site.other}",
    ]  # fmt: skip
    libraries = folder / "lib" / "python3.11" / "site-packages" / "nvidia_pytriton.libs"
    env = {"LD_LIBRARY_PATH": f"{libpython_folder()}:{libraries}"}
    env["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    return Launch(command, oip_path(site.model), oip_body(), env, grpc=oip_call(site.model))


def triton_config(model: str, backend: str, timeout_ms: int, max_queue: int) -> str:
    max_batch, wait_ms = BATCH[model]
    policy = ""
    if timeout_ms:
        policy += f"default_timeout_microseconds: {timeout_ms * 1000} timeout_action: REJECT "
    if max_queue:
        policy += f"max_queue_size: {max_queue} "
    queue = f"default_queue_policy {{ {policy}}}" if policy else ""
    return (
        f'name: "{model}"\nbackend: "{backend}"\nmax_batch_size: {max_batch}\n'
        'input [{ name: "x" data_type: TYPE_FP32 dims: [16] }]\n'
        'output [{ name: "y" data_type: TYPE_FP32 dims: [16] }]\n'
        "instance_group [{ kind: KIND_CPU count: 1 }]\n"
        f"dynamic_batching {{ max_queue_delay_microseconds: {int(wait_ms * 1e3)} {queue} }}\n"
    )


def torchserve(site: Site, queue: int = 1000) -> Launch:
    """A worker, and a queue of `queue` requests before it."""
    max_batch, wait_ms = BATCH[site.model]
    store, model = site.work / "store", site.model
    (store / model / "MAR-INF").mkdir(parents=True)
    (store / model / "handler.py").write_bytes((SERVERS / "torchserve_handler.py").read_bytes())
    manifest = {"modelName": model, "modelVersion": "1.0", "handler": "handler.py:handle"}
    (store / model / "MAR-INF" / "MANIFEST.json").write_text(
        json.dumps({"runtime": "python", "model": manifest, "archiverVersion": "0.12.0"}),
        encoding="utf-8",
    )
    management, grpc_management = free_ports(2)
    limits = {"minWorkers": 1, "maxWorkers": 1, "batchSize": max_batch}
    limits |= {"maxBatchDelay": int(wait_ms), "responseTimeout": 120}
    version = {"defaultVersion": True, "marName": model} | limits
    settings = {
        "inference_address": f"http://127.0.0.1:{site.http}",
        "management_address": f"http://127.0.0.1:{management}",
        "metrics_address": f"http://127.0.0.1:{site.other}",
        "grpc_inference_address": "127.0.0.1", "grpc_inference_port": site.grpc,
        "grpc_management_address": "127.0.0.1", "grpc_management_port": grpc_management,
        "job_queue_size": queue, "disable_system_metrics": "true", "load_models": model,
        "models": json.dumps({model: {"1.0": version}}),
    }  # fmt: skip
    config = site.work / "config.properties"
    config.write_text("".join(f"{k}={v}\n" for k, v in settings.items()), encoding="utf-8")
    command = [str(site.home / "torchserve" / "bin" / "torchserve"), "--start", "--foreground"]
    command += ["--ncs", "--disable-token-auth", "--model-store", str(store)]
    command += ["--ts-config", str(config)]
    # Its file of process ids and its sockets, which two servers would share.
    env = {"TMPDIR": str(site.work), "TEMP": str(site.work)}
    env["PATH"] = f"{site.home / 'torchserve' / 'bin'}:{os.environ['PATH']}"
    call = torchserve_call(model)
    return Launch(command, f"/predictions/{model}", {"x": INPUT}, env, grpc=call)


def ray(site: Site, ongoing: int = 1024, queued: int = -1) -> Launch:
    """HAProxy before the replica, and the mode for throughput; -1 queues without a limit."""
    command = [site.python("ray"), str(SERVERS / "ray_server.py")]
    command += [str(site.http), str(ongoing), str(queued)]
    env = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
    env |= {"RAY_USAGE_STATS_ENABLED": "0"}
    return Launch(command, "/predict", {"x": INPUT}, env)


def bentoml(site: Site, max_latency_ms: int = 60000) -> Launch:
    command = [str(site.home / "bentoml" / "bin" / "bentoml"), "serve", "bentoml_service:Model"]
    command += ["--host", "127.0.0.1", "--port", str(site.http), "--working-dir", str(SERVERS)]
    env = {"PEERS_MAX_LATENCY_MS": str(max_latency_ms), "BENTOML_HOME": str(site.work)}
    env |= {"BENTOML_DO_NOT_TRACK": "True"}
    return Launch(command, "/predict", {"x": [INPUT]}, env)


PEERS: dict[str, Callable[..., Launch]] = {
    "glet": glet, "mosec": mosec, "triton": triton, "triton_c": triton_c, "litserve": litserve,
    "mlserver": mlserver, "pytriton": pytriton, "torchserve": torchserve, "ray": ray,
    "bentoml": bentoml,
}  # fmt: skip


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def libpython_folder() -> str:
    """Where libpython of this interpreter is: Triton's Python stub is linked to it."""
    return str(sysconfig.get_config_var("LIBDIR"))
