"""Certificates and tokens as files: faults, renewal, and daemons that are given them."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from echo_loop import echo_loop
from tls_parts import BODY, INFER, Authority, ask, bearer, context, post, secure
from vector_entries import model_toml
from waiting import WAIT_S, wait_for

from glet.clock import SystemClock
from glet.config.cluster import BackendConfig, ClusterConfig
from glet.config.security import SecurityConfig
from glet.errors import ConfigError
from glet.native import core
from glet.serve.libssl_path import libssl_path
from glet.serve.metrics_server import MetricsServer
from glet.serve.up import LocalCluster
from glet.serve.web_guard import WebGuard
from glet.wire.address import check_web_bind

LONG_MS = 60_000.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    try:
        libssl_path()
    except ConfigError as error:
        pytest.skip(str(error))
    return Authority(tmp_path_factory.mktemp("ca"))


def test_files_that_change_are_taken_up(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {name: tmp_path / name for name in ("cert", "key", "tokens")}
    first, second = authority.sign("first"), authority.sign("second")

    def put(pair: Any, tokens: str) -> None:
        files["cert"].write_text(Path(pair.cert).read_text())
        files["key"].write_text(Path(pair.key).read_text())
        files["tokens"].write_text(tokens)
        files["tokens"].chmod(0o600)

    put(first, "one-token")
    guard = WebGuard(
        SecurityConfig(
            tls_cert=str(files["cert"]), tls_key=str(files["key"]), tokens_file=str(files["tokens"])
        )
    )
    found = SimpleNamespace()

    def add_door(loop: Any) -> None:
        found.http = core.add_http_door(loop, "127.0.0.1:0", 64, 10, guard=guard.core)

    def name() -> str:
        with secure(found.http, context(authority)) as opened:
            return str(dict(part[0] for part in opened.getpeercert()["subject"])["commonName"])

    def status(token: str) -> int:
        return ask(found.http, context(authority), post(INFER, BODY, bearer(token)))[0]

    with echo_loop(add_door) as rig:
        rig.echo("echo", [("x", "float32", [4])], LONG_MS)
        wait_for(lambda: status("one-token") == 200)
        put(second, "another-token")
        guard.renew()
        assert (name(), status("one-token"), status("another-token")) == ("second", 401, 200)
        files["cert"].write_text("nothing")
        files["tokens"].write_text("a b c")
        guard.renew()
        assert (name(), status("another-token")) == ("second", 200)
        assert "is no certificate" in caplog.text
        assert "another-token" not in caplog.text


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("missing", "cannot be read"),
        ("garbage", "is no certificate"),
        ("other key", "is not the key of"),
        ("expired", "expired at 20"),
        ("no ca", "holds no certificate"),
        ("open tokens", "chmod 600"),
        ("no tokens", "holds no token"),
        ("bad tokens", "line 2"),
    ],
)
def test_faults_of_files_are_one_line(
    authority: Authority, tmp_path: Path, fault: str, says: str
) -> None:
    pair = authority.sign("expired", days=-1) if fault == "expired" else authority.sign("good")
    given = {"tls_cert": pair.cert, "tls_key": pair.key}
    tokens, empty = tmp_path / "tokens", tmp_path / "empty"
    empty.write_text("garbage\n")
    tokens.write_text(
        {"no tokens": "# none\n", "bad tokens": "good\nnot: valid: at all\n"}.get(fault, "x")
    )
    tokens.chmod(0o644 if fault == "open tokens" else 0o600)
    if "tokens" in fault:
        given["tokens_file"] = str(tokens)
    if fault == "missing":
        given["tls_cert"] = str(tmp_path / "nowhere")
    if fault == "garbage":
        given["tls_cert"] = str(empty)
    if fault == "other key":
        given["tls_key"] = authority.sign("else").key
    if fault == "no ca":
        given["tls_client_ca"] = str(empty)
    with pytest.raises(ConfigError, match=says) as refused:
        WebGuard(SecurityConfig(**given))
    assert "\n" not in str(refused.value)


def secured(authority: Authority, folder: Path) -> SecurityConfig:
    pair = authority.sign("server")
    tokens = folder / "tokens"
    tokens.write_text("user: u-token\nboss admin: a-token\n")
    tokens.chmod(0o600)
    return SecurityConfig(tls_cert=pair.cert, tls_key=pair.key, tokens_file=str(tokens))


def fetch(authority: Authority, url: str, token: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=WAIT_S, context=context(authority)) as answer:
        found: bytes = answer.read()
        return found


@pytest.mark.slow
def test_daemons_serve_beyond_this_machine_when_they_are_guarded(
    authority: Authority, tmp_path: Path
) -> None:
    entry = tmp_path / "models" / "echo"
    entry.mkdir(parents=True)
    (entry / "model.toml").write_text(model_toml(5000.0))
    (entry / "model.py").write_text("def infer(x):\n    return x\n")
    config = ClusterConfig(
        listen="tcp://127.0.0.1:*",
        http="0.0.0.0:*",
        models=str(entry.parent),
        partition="cpu",
        backend=(BackendConfig(),),
        dashboard_token="dash-token",
        security=secured(authority, tmp_path),
    )
    with LocalCluster(config, SystemClock()) as cluster:
        url = f"https://localhost:{cluster.doors['http'].rpartition(':')[2]}"
        answer = json.loads(fetch(authority, url + INFER, "u-token", BODY))
        assert answer["outputs"][0]["data"] == [1, 2, 3, 4]
        assert b"glet_requests_total" in fetch(authority, url + "/metrics", "dash-token")
        assert b"<html" in fetch(authority, url + "/dashboard", "")
        for token, status in (("", 401), ("u-token", 403)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                fetch(authority, url + "/v2/repository/models/echo/unload", token, b"{}")
            assert refused.value.code == status
            refused.value.close()
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(authority, url + "/glet/state.json", "")
        assert refused.value.code == 401
        refused.value.close()
        state = json.loads(fetch(authority, url + "/glet/state.json", "dash-token"))
        assert state["can_change"] is True
        fetch(authority, url + "/glet/models/echo/unload", "dash-token", b"")
        fetch(authority, url + "/v2/repository/models/echo/load", "a-token", b"{}")


def test_metrics_of_a_backend_ask_for_the_same(authority: Authority, tmp_path: Path) -> None:
    security = secured(authority, tmp_path)
    server = MetricsServer("127.0.0.1:*", lambda: "glet_x 1\n", insecure=False, security=security)
    try:
        url = f"https://{server.address}/metrics"
        assert fetch(authority, url, "u-token") == b"glet_x 1\n"
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetch(authority, url, "wrong")
        assert refused.value.code == 401
        refused.value.close()
        with pytest.raises(OSError, match=r"closed|reset|Remote end"):
            urllib.request.urlopen(url.replace("https", "http"), timeout=WAIT_S)
    finally:
        server.close()


def test_an_open_address_says_both_ways_out() -> None:
    with pytest.raises(ConfigError, match=r"\[security\] tls_cert .* --insecure"):
        check_web_bind("0.0.0.0:80", insecure=False)
    check_web_bind("0.0.0.0:80", insecure=False, guarded=True)
    check_web_bind("0.0.0.0:80", insecure=True)
