"""What running daemons tell Prometheus and a collector of traces."""

import importlib
import json
import re
import shutil
import socket
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from waiting import wait_for

from glet.client import Client
from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig, TraceConfig
from glet.serve.up import LocalCluster

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 60.0
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
X = np.arange(4, dtype=np.float32)
TOML = """
slo_ms = 20000.0
max_batch = 8
[[input]]
name = "x"
dtype = "float32"
shape = [4]
[[output]]
name = "y"
dtype = "float32"
shape = [4]
"""

pytestmark = pytest.mark.slow


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def fetch(url: str, data: bytes | None = None, **headers: str) -> str:
    asked = urllib.request.Request(url, data, headers)
    with urllib.request.urlopen(asked, timeout=LIMIT_S) as answer:
        return answer.read().decode()


@contextmanager
def running(tmp_path: Path, **given: Any) -> Iterator[SimpleNamespace]:
    """A cluster with the Python model `double`; where its client, door and backend are."""
    folder = tmp_path / "models" / "double"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(TOML)
    (folder / "model.py").write_text("def infer(x):\n    return x * 2.0\n")
    backend = BackendConfig(metrics=free_address())
    config = ClusterConfig(
        listen="tcp://127.0.0.1:0", http="127.0.0.1:0", models=str(folder.parent),
        backend=(backend,), dashboard_token="s3cret", **given,
    )  # fmt: skip
    said: list[str] = []
    with LocalCluster(config, SystemClock(), report=said.append) as started:
        (door,) = {
            found[1] for line in said if (found := re.search(r"(http://\S+)/dashboard", line))
        }
        with Client(started.endpoint, timeout_s=LIMIT_S) as client:
            yield SimpleNamespace(client=client, door=door, backend=f"http://{backend.metrics}")


def double(client: Client, times: int) -> None:
    for _ in range(times):
        client.infer("double", {"x": X}, deadline_ms=20_000)


def test_pages_tell_what_was_served(tmp_path: Path) -> None:
    with running(tmp_path) as glet:
        double(glet.client, 5)
        page = fetch(f"{glet.door}/metrics")
        for line in (
            'glet_requests_total{model="double",outcome="ok"} 5',
            'glet_request_latency_seconds_count{model="double"} 5',
            'glet_request_batch_size_sum{model="double"} 5',
            'glet_model_serving{model="double"} 1',
            'glet_backend_up{backend="device0"} 1',
        ):
            assert line in page.splitlines()
        wait_for(
            lambda: " 5\n" in counted(f"{glet.backend}/metrics", "glet_gpulet_batch_items_total")
        )
        wait_for(lambda: counted(f"{glet.backend}/metrics", "glet_device_utilization_ratio"))
        state = json.loads(fetch(f"{glet.door}/glet/state.json"))
        assert state["models"]["double"]["state"] == "serving"
        assert "<title>glet</title>" in fetch(f"{glet.door}/")
        if (promtool := shutil.which("promtool")) is not None:
            for text in (page, fetch(f"{glet.backend}/metrics")):
                ran = subprocess.run(
                    [promtool, "check", "metrics"], input=text, capture_output=True, text=True,
                    timeout=LIMIT_S,
                )  # fmt: skip
                assert ran.returncode == 0, ran


def counted(url: str, name: str) -> str:
    """The lines of one family."""
    return "".join(f"{line}\n" for line in fetch(url).splitlines() if line.startswith(name))


def test_the_token_unloads_and_loads(tmp_path: Path) -> None:
    with running(tmp_path) as glet:
        bearer = {"authorization": "Bearer s3cret"}
        url = f"{glet.door}/glet/models/double"
        assert json.loads(fetch(f"{url}/unload", b"", **bearer)) == {
            "name": "double",
            "unload": True,
        }
        assert "glet_model_serving" not in fetch(f"{glet.door}/metrics")
        assert json.loads(fetch(f"{url}/load", b"", **bearer)) == {"name": "double", "load": True}
        double(glet.client, 1)


def test_prometheus_scrapes_it_and_answers_every_question_of_the_dashboard(tmp_path: Path) -> None:
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip("no prometheus here (Debian package prometheus)")
    with running(tmp_path) as glet, prometheus(binary, tmp_path, glet.door) as api:
        double(glet.client, 5)

        def ok() -> list[Any]:
            return asked(api, 'glet_requests_total{model="double",outcome="ok"} == 5')

        wait_for(ok)
        board = json.loads((ROOT / "docker/grafana/dashboards/glet.json").read_text())
        texts = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
        for text in texts:
            filled = text.replace("$__rate_interval", "1m")
            asked(api, re.sub(r"\$(model|backend)", ".*", filled))
        assert len(texts) > 20


@contextmanager
def prometheus(binary: str, tmp_path: Path, door: str) -> Iterator[str]:
    """One that scrapes the door with the repository's rules; its API."""
    folder = tmp_path / "prometheus"
    folder.mkdir()
    text = (ROOT / "docker/prometheus/prometheus.yml").read_text()
    text = text.replace("127.0.0.1:8000", door.removeprefix("http://")).replace(": 5s", ": 1s")
    (folder / "prometheus.yml").write_text(text)
    shutil.copy(ROOT / "docker/prometheus/rules.yml", folder)
    address = free_address()
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            [binary, "--config.file", str(folder / "prometheus.yml"),
             "--storage.tsdb.path", str(folder / "data"), "--web.listen-address", address],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        yield f"http://{address}/api/v1/query"
    finally:
        daemon.terminate()
        daemon.wait(LIMIT_S)


def asked(api: str, query: str) -> list[Any]:
    """The result of a query; none while Prometheus starts. Fails for a query that it refuses."""
    try:
        answer = json.loads(fetch(f"{api}?{urllib.parse.urlencode({'query': query})}"))
    except urllib.error.HTTPError as error:
        if error.code == 400:
            pytest.fail(f"{query}: {error.read().decode()}")
        return []
    except urllib.error.URLError:
        return []
    assert answer["status"] == "success", query
    found: list[Any] = answer["data"]["result"]
    return found


def test_a_traced_request_reaches_a_collector_as_part_of_its_callers_trace(tmp_path: Path) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="glet[otel]")
    with collector() as (endpoint, spans):
        trace = TraceConfig(endpoint=endpoint, ratio=0.0, service="tested")
        with running(tmp_path, trace=trace) as glet:
            double(glet.client, 1)
            body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1] * 4}],
                    "parameters": {"timeout": 20_000_000}}  # fmt: skip
            fetch(
                f"{glet.door}/v2/models/double/infer", json.dumps(body).encode(),
                traceparent=f"00-{TRACE}-{SPAN}-01",
            )  # fmt: skip
            wait_for(lambda: len(spans) >= 4)
            exported = 'glet_traces_total{result="exported"} 1\n'
            wait_for(lambda: exported in counted(f"{glet.door}/metrics", "glet_traces_total"))
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    by_name = {span.name: span for span in spans}
    assert set(by_name) == {"glet.request", "queue", "batch", "execute"}
    whole = by_name.pop("glet.request")
    assert whole.parent_span_id.hex() == SPAN
    for part in by_name.values():
        assert part.parent_span_id == whole.span_id
        assert whole.start_time_unix_nano <= part.start_time_unix_nano
        assert part.end_time_unix_nano <= whole.end_time_unix_nano


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """Takes OTLP over HTTP: where, and the spans that came."""
    wanted = "opentelemetry.proto.collector.trace.v1.trace_service_pb2"
    messages = importlib.import_module(wanted)
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers["content-length"]))
            told = messages.ExportTraceServiceRequest.FromString(sent)
            for resource in told.resource_spans:
                for scope in resource.scope_spans:
                    spans.extend(scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", spans
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
