"""Certificates of an authority that a test makes by the openssl command, and a client of TLS."""

import json
import shutil
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

LIMIT_S = 60.0
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True)
class Pair:
    cert: str
    key: str


class Authority:
    """Signs what it is asked to; `ca` is its own certificate."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("no openssl here")
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self.ca, self._key = str(folder / "ca.pem"), str(folder / "ca.key")
        openssl(
            "req", "-x509", *new_key(self._key), "-out", self.ca, "-subj", "/CN=test", "-days", "9"
        )

    def sign(self, name: str, days: int = 9) -> Pair:
        """A certificate for localhost; one of fewer than 0 days has expired."""
        base = self._folder / name
        pair = Pair(f"{base}.pem", f"{base}.key")
        openssl("req", *new_key(pair.key), "-out", f"{base}.csr", "-subj", f"/CN={name}")
        (self._folder / "names").write_text(NAMES)
        openssl(
            "x509", "-req", "-in", f"{base}.csr", "-CA", self.ca, "-CAkey", self._key,
            "-CAcreateserial", "-days", str(days), "-extfile", str(self._folder / "names"),
            "-out", pair.cert,
        )  # fmt: skip
        return pair


def new_key(path: str) -> list[str]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path]


def openssl(*args: str) -> None:
    subprocess.run(["openssl", *args], check=True, capture_output=True)


INFER = "/v2/models/echo/infer"
BODY = json.dumps(
    {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
).encode()


def context(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=authority.ca)


def plain(address: str) -> socket.socket:
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=LIMIT_S)


def secure(address: str, with_context: ssl.SSLContext) -> ssl.SSLSocket:
    return with_context.wrap_socket(plain(address), server_hostname="localhost")


def everything(of: socket.socket) -> bytes:
    """Until the end of the stream, or a reset."""
    parts = []
    try:
        while part := of.recv(1 << 20):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def post(path: str, body: bytes, *headers: str, close: bool = True) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}", *headers]
    lines += ["Connection: close"] if close else []
    return "\r\n".join((*lines, "", "")).encode() + body


def ask(address: str, with_context: ssl.SSLContext, request: bytes) -> tuple[int, bytes]:
    with secure(address, with_context) as opened:
        opened.sendall(request)
        answer = everything(opened)
    return int(answer.split(b" ", 2)[1]), answer


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"
