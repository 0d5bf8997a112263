"""TLS and tokens at both doors of a frontend's loop, by clients that glet has no part in."""

import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from echo_loop import echo_loop
from tls_parts import BODY, INFER, Authority, ask, bearer, context, everything, plain, post, secure

from glet.config.security import SecurityConfig
from glet.errors import ConfigError
from glet.native import core
from glet.serve.libssl_path import libssl_path
from glet.serve.nghttp2_path import nghttp2_path
from glet.serve.web_guard import WebGuard

LIMIT_S = 60.0
LONG_MS = 60_000.0
TOKENS = "user: u-token\nboss admin: a-token  # all rights\n"
LARGE = 64 << 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def served(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """HTTP and gRPC with TLS and tokens, and `strict`: HTTP with client certificates."""
    try:
        libssl_path()
    except ConfigError as error:
        pytest.skip(str(error))
    server = authority.sign("server")
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(TOKENS)
    tokens.chmod(0o600)
    files = {"tls_cert": server.cert, "tls_key": server.key}
    with_tokens = WebGuard(SecurityConfig(**files, tokens_file=str(tokens)), "dash-token")
    with_clients = WebGuard(SecurityConfig(**files, tls_client_ca=authority.ca))
    found = SimpleNamespace(grpc="")

    def add_doors(loop: Any) -> None:
        found.loop = loop
        found.http = core.add_http_door(loop, "127.0.0.1:0", 128, 100, guard=with_tokens.core)
        found.strict = core.add_http_door(loop, "127.0.0.1:0", 128, 100, guard=with_clients.core)
        try:
            library = nghttp2_path()
        except ConfigError:
            return
        found.grpc = core.add_grpc_door(
            loop, "127.0.0.1:0", library, 128, 100, guard=with_tokens.core
        )

    with echo_loop(add_doors) as rig:
        rig.echo("echo", [("x", "float32", [4])], LONG_MS)
        rig.echo("large", [("x", "uint8", [LARGE])], LONG_MS)
        yield found


def curl(
    authority: Authority, address: str, path: str, *args: str
) -> subprocess.CompletedProcess[str]:
    if shutil.which("curl") is None:
        pytest.skip("no curl here")
    url = f"https://localhost:{address.rpartition(':')[2]}{path}"
    return subprocess.run(
        ["curl", "-sS", "--ipv4", "-m", "60", "--cacert", authority.ca, *args, url],
        check=False,
        capture_output=True,
        text=True,
    )


def test_curl_infers_with_a_token(served: Any, authority: Authority) -> None:
    done = curl(authority, served.http, INFER, "-H", bearer("u-token"), "-d", BODY.decode())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["outputs"][0]["data"] == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ((), 401),
        ((bearer("wrong"),), 401),
        ((bearer("u-toke"),), 401),
        (("Authorization: Basic u-token",), 401),
        ((bearer("dash-token"),), 403),
        (("authorization: bearer u-token",), 200),
        ((bearer("a-token"),), 200),
    ],
)
def test_inference_needs_a_token(
    served: Any, authority: Authority, header: tuple[str, ...], status: int
) -> None:
    got, answer = ask(served.http, context(authority), post(INFER, BODY, *header))
    assert got == status, answer
    assert (b"WWW-Authenticate: Bearer" in answer) == (status == 401)


@pytest.mark.parametrize(
    ("request_line", "token", "status"),
    [
        ("GET /v2/health/live", "", 200),
        ("GET /v2/models/echo/ready", "", 401),
        ("GET /metrics", "", 401),
        ("POST /v2/repository/models/echo/unload", "u-token", 403),
        ("POST /v2/logging", "u-token", 403),
        ("POST /v2/repository/models/echo/%75nload", "u-token", 403),
        ("POST /glet/models/echo/unload", "u-token", 403),
    ],
)
def test_each_resource_says_what_it_takes(
    served: Any, authority: Authority, request_line: str, token: str, status: int
) -> None:
    head = f"{request_line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    if token:
        head += bearer(token) + "\r\n"
    assert ask(served.http, context(authority), f"{head}\r\n".encode())[0] == status


def test_a_refused_body_is_not_waited_for(served: Any, authority: Authority) -> None:
    with secure(served.http, context(authority)) as opened:
        opened.sendall(post(INFER, b"", close=False).replace(b"Length: 0", b"Length: 60000000"))
        assert everything(opened).startswith(b"HTTP/1.1 401 ")


def test_a_refused_request_without_a_body_keeps_the_connection(
    served: Any, authority: Authority
) -> None:
    with secure(served.http, context(authority)) as opened:
        opened.sendall(
            b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" + post(INFER, BODY, bearer("u-token"))
        )
        answers = everything(opened)
    assert answers.startswith(b"HTTP/1.1 401 ")
    assert b"HTTP/1.1 200 " in answers


def test_many_pipelined_requests_are_answered(served: Any, authority: Authority) -> None:
    count = 500
    one = post(INFER, BODY, bearer("u-token"), close=False)
    with secure(served.http, context(authority)) as opened:
        opened.sendall(one * (count - 1) + post(INFER, BODY, bearer("u-token")))
        assert everything(opened).count(b"HTTP/1.1 200 ") == count


def test_a_large_body_goes_both_ways(served: Any, authority: Authority) -> None:
    header = json.dumps(
        {
            "inputs": [
                {
                    "name": "x",
                    "datatype": "UINT8",
                    "shape": [1, LARGE],
                    "parameters": {"binary_data_size": LARGE},
                }
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    sent = np.random.default_rng(1).integers(0, 256, LARGE, dtype=np.uint8).tobytes()
    request = post(
        "/v2/models/large/infer",
        header + sent,
        bearer("u-token"),
        f"Inference-Header-Content-Length: {len(header)}",
    )
    status, answer = ask(served.http, context(authority), request)
    assert status == 200, answer[:300]
    assert answer.endswith(sent)


def test_a_reset_within_a_body_leaves_the_others_served(served: Any, authority: Authority) -> None:
    opened = secure(served.http, context(authority))
    opened.sendall(post(INFER, b"x" * 100_000, bearer("u-token"))[:50_000])
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    opened.close()
    assert ask(served.http, context(authority), post(INFER, BODY, bearer("u-token")))[0] == 200


def test_another_authority_is_not_believed(served: Any, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other")
    with pytest.raises(ssl.SSLCertVerificationError):
        secure(served.http, context(other))


def test_http_at_the_tls_port_is_told_so(served: Any) -> None:
    for address in filter(None, (served.http, served.grpc)):
        with plain(address) as opened:
            opened.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = everything(opened)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"say https" in answer


def test_garbage_and_half_a_handshake_harm_nobody(served: Any, authority: Authority) -> None:
    hello = ssl.MemoryBIO(), ssl.MemoryBIO()
    begun = context(authority).wrap_bio(*hello, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        begun.do_handshake()
    first = hello[1].read()
    for address in filter(None, (served.http, served.grpc)):
        with plain(address) as stopped:
            stopped.sendall(first[: len(first) // 2])
            with plain(address) as garbage:
                garbage.sendall(b"\x16\x03\x01\xff\xff" + bytes(range(256)) * 100)
                garbage.shutdown(socket.SHUT_WR)
                everything(garbage)
            assert (
                ask(served.http, context(authority), post(INFER, BODY, bearer("u-token")))[0] == 200
            )


def test_a_hello_in_single_bytes_is_understood(served: Any, authority: Authority) -> None:
    inward, outward = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context(authority).wrap_bio(inward, outward, server_hostname="localhost")
    with plain(served.http) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            try:
                session.do_handshake()
                break
            except ssl.SSLWantReadError:
                for byte in outward.read():
                    opened.sendall(bytes([byte]))
                inward.write(opened.recv(65536))
        session.write(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        opened.sendall(outward.read())
        inward.write(everything(opened))
        assert session.read(65536).startswith(b"HTTP/1.1 200 ")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_versions_are_refused_and_both_new_ones_spoken(
    served: Any, authority: Authority
) -> None:
    for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
        old = context(authority)
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = old.maximum_version = version
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            secure(served.http, old)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        good = context(authority)
        good.minimum_version = good.maximum_version = version
        with secure(served.http, good) as opened:
            assert opened.version() == version.name.replace("_", ".")


def test_alpn_says_what_each_door_speaks(served: Any, authority: Authority) -> None:
    for address, spoken, other in (
        (served.http, "http/1.1", "h2"),
        (served.grpc, "h2", "http/1.1"),
    ):
        if not address:
            continue
        both = context(authority)
        both.set_alpn_protocols([other, spoken])
        with secure(address, both) as opened:
            assert opened.selected_alpn_protocol() == spoken
        wrong = context(authority)
        wrong.set_alpn_protocols([other])
        with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
            secure(address, wrong)


def test_client_certificates_are_asked_for_and_verified(
    served: Any, authority: Authority, tmp_path: Path
) -> None:
    known = context(authority)
    pair = authority.sign("client")
    known.load_cert_chain(pair.cert, pair.key)
    for _ in range(2):
        assert ask(served.strict, known, post(INFER, BODY))[0] == 200
    stranger = context(authority)
    other = Authority(tmp_path / "other").sign("stranger")
    stranger.load_cert_chain(other.cert, other.key)
    expired = context(authority)
    old = authority.sign("old", days=-1)
    expired.load_cert_chain(old.cert, old.key)
    for refused in (context(authority), stranger, expired):
        with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
            ask(served.strict, refused, post(INFER, BODY))


def test_grpcio_over_tls_with_tokens(served: Any, authority: Authority) -> None:
    grpc = pytest.importorskip("grpc")
    oip = pytest.importorskip("oip_messages")
    roots = grpc.ssl_channel_credentials(Path(authority.ca).read_bytes())
    target = f"localhost:{served.grpc.rpartition(':')[2]}"
    x = np.arange(4, dtype=np.float32)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4]}
    request = oip.message(
        "ModelInferRequest", model_name="echo", inputs=[tensor], raw_input_contents=[x.tobytes()]
    ).SerializeToString()
    service = "/inference.GRPCInferenceService/"
    with grpc.secure_channel(target, roots) as channel:
        infer = channel.unary_unary(service + "ModelInfer")

        def code(call: Any, token: str, message: bytes) -> Any:
            metadata = [("authorization", f"Bearer {token}")] if token else []
            try:
                call(message, metadata=metadata, timeout=LIMIT_S)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        assert code(infer, "u-token", request) is grpc.StatusCode.OK
        assert code(infer, "", request) is grpc.StatusCode.UNAUTHENTICATED
        assert code(infer, "wrong", request) is grpc.StatusCode.UNAUTHENTICATED
        unload = channel.unary_unary(service + "RepositoryModelUnload")
        assert code(unload, "u-token", b"") is grpc.StatusCode.PERMISSION_DENIED
        assert code(channel.unary_unary(service + "ServerLive"), "", b"") is grpc.StatusCode.OK


def test_triton_clients_over_tls(served: Any, authority: Authority) -> None:
    pytest.importorskip("geventhttpclient")
    http = pytest.importorskip("tritonclient.http")
    rpc = pytest.importorskip("tritonclient.grpc")
    x = np.arange(4, dtype=np.float32).reshape(1, 4)
    head = {"authorization": "Bearer u-token"}
    made = {
        http: http.InferenceServerClient(
            f"localhost:{served.http.rpartition(':')[2]}",
            ssl=True,
            ssl_options={"ca_certs": authority.ca},
        ),
        rpc: rpc.InferenceServerClient(
            f"localhost:{served.grpc.rpartition(':')[2]}", ssl=True, root_certificates=authority.ca
        ),
    }
    for module, client in made.items():
        given = module.InferInput("x", x.shape, "FP32")
        given.set_data_from_numpy(x)
        answer = client.infer("echo", [given], headers=dict(head))
        assert np.array_equal(answer.as_numpy("y0"), x)
        client.close()
