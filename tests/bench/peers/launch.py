"""How each server is started, and what it is asked: one model, batching and 16 floats for all."""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

SERVERS = Path(__file__).resolve().parent / "servers"
MODELS = Path(__file__).resolve().parents[3] / "build" / "bench" / "models"
# The largest batch, and how long one may wait to fill.
BATCH = {"echo": (16, 1.0), "mlp": (8, 2.0)}
INPUT = [value / 8 for value in range(16)]
START_S = 120.0
STOP_S = 20.0


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


class Launch(NamedTuple):
    """What to run, and where and how it is asked."""

    command: list[str]
    path: str
    body: dict[str, Any]
    env: dict[str, str] = {}  # noqa: RUF012  (never written)
    grpc: bool = False


class Running(NamedTuple):
    """A server that answers."""

    site: Site
    launch: Launch
    pid: int

    def body(self) -> str:
        return json.dumps(self.launch.body)

    def cpu_s(self) -> float:
        """CPU time of all processes of the server so far."""
        top = psutil.Process(self.pid)
        total = 0.0
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total


def oip_path(model: str) -> str:
    return f"/v2/models/{model}/infer"


def oip_body(**parameters: int) -> dict[str, Any]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 16], "data": INPUT}
    body: dict[str, Any] = {"inputs": [tensor]}
    return body | {"parameters": parameters} if parameters else body


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
    return Launch(command, oip_path(site.model), body, grpc=True)


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
    return Launch(command, oip_path(site.model), oip_body(), grpc=True)


def pytriton(site: Site) -> Launch:
    ports = [str(port) for port in (site.http, site.grpc, site.other)]
    command = [site.python("triton"), str(SERVERS / "pytriton_server.py"), *ports]
    return Launch(
        command,
        oip_path(site.model),
        oip_body(),
        {"LD_LIBRARY_PATH": libpython_folder()},
        grpc=True,
    )


def triton(site: Site, timeout_ms: int = 0, max_queue: int = 0) -> Launch:
    """The real tritonserver with its Python backend; 0 leaves a limit out."""
    version = site.work / "models" / site.model / "1"
    version.mkdir(parents=True)
    # The backend looks for modules beside the model.
    for source, name in (("triton_model.py", "model.py"), ("served.py", "served.py")):
        (version / name).write_bytes((SERVERS / source).read_bytes())
    (version.parent / "config.pbtxt").write_text(
        triton_config(site.model, timeout_ms, max_queue), encoding="utf-8"
    )
    folder = site.home / "triton"
    server = folder / "server"
    command = [
        str(server / "bin" / "tritonserver"),
        f"--model-repository={site.work / 'models'}",
        f"--backend-directory={server / 'backends'}",
        "--allow-gpu-metrics=false", "--log-info=false", "--http-address=127.0.0.1",
        f"--http-port={site.http}", f"--grpc-port={site.grpc}", f"--metrics-port={site.other}",
    ]  # fmt: skip
    libraries = folder / "lib" / "python3.11" / "site-packages" / "nvidia_pytriton.libs"
    env = {"LD_LIBRARY_PATH": f"{libpython_folder()}:{libraries}"}
    env["PATH"] = f"{folder / 'bin'}:{os.environ['PATH']}"
    return Launch(command, oip_path(site.model), oip_body(), env, grpc=True)


def triton_config(model: str, timeout_ms: int, max_queue: int) -> str:
    max_batch, wait_ms = BATCH[model]
    policy = ""
    if timeout_ms:
        policy += f"default_timeout_microseconds: {timeout_ms * 1000} timeout_action: REJECT "
    if max_queue:
        policy += f"max_queue_size: {max_queue} "
    queue = f"default_queue_policy {{ {policy}}}" if policy else ""
    return (
        f'name: "{model}"\nbackend: "python"\nmax_batch_size: {max_batch}\n'
        'input [{ name: "x" data_type: TYPE_FP32 dims: [16] }]\n'
        'output [{ name: "y" data_type: TYPE_FP32 dims: [16] }]\n'
        "instance_group [{ kind: KIND_CPU count: 1 }]\n"
        f"dynamic_batching {{ max_queue_delay_microseconds: {int(wait_ms * 1e3)} {queue} }}\n"
    )


PEERS: dict[str, Callable[..., Launch]] = {
    "glet": glet, "mosec": mosec, "triton": triton, "litserve": litserve, "mlserver": mlserver,
    "pytriton": pytriton,
}  # fmt: skip


@contextmanager
def serve(setting: Setting, model: str, home: Path, work: Path) -> Iterator[Running]:
    """The server with `model`, once it answers right; its whole process group ends with it.

    Raises RuntimeError with the end of its log when it does not answer.
    """
    work.mkdir(parents=True)
    site = Site(home, work, model, *free_ports(3))
    launch = PEERS[setting.peer](site, **setting.options)
    max_batch, wait_ms = BATCH[model]
    env = os.environ | {"PYTHONPATH": str(SERVERS), "OMP_NUM_THREADS": "1"}
    env |= {"PEERS_MODEL": model, "PEERS_MODELS": str(MODELS), "PEERS_MAX_BATCH": str(max_batch)}
    env |= {"PEERS_WAIT_MS": str(wait_ms)} | launch.env
    if setting.peer == "glet":
        env = dict(os.environ)
    log = work / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            launch.command, env=env, cwd=work, stdout=out, stderr=out, start_new_session=True
        )
    try:
        running = Running(site, launch, server.pid)
        wait_until_it_answers(running, server, log)
        yield running
    finally:
        stop(server)


def wait_until_it_answers(running: Running, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Returns when the server answered a request with the numbers that belong to it."""
    until = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < until:
        answer = ask(running)
        if answer is not None:
            if running.site.model == "echo" and answer != INPUT:
                raise RuntimeError(f"{log}: the echo answered {answer}")
            return
        time.sleep(0.2)
    tail = log.read_text(errors="replace")[-800:]
    raise RuntimeError(f"{' '.join(server.args)} does not answer: {tail}")  # type: ignore[arg-type]


def ask(running: Running, timeout_s: float = 30.0) -> list[float] | None:
    """The 16 numbers of one answer, or None when there is no good one."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{running.site.http}{running.launch.path}",
        running.body().encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as response:
            answer = json.load(response)
    except (OSError, urllib.error.URLError):
        return None
    return list(answer["y"] if "y" in answer else answer["outputs"][0]["data"])


def stop(server: "subprocess.Popen[bytes]") -> None:
    """Asks the server's process group to end, and ends what is left of it."""
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(STOP_S)
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


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
