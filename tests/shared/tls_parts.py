"""Certificates of an authority that a test makes, by the openssl command."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

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
