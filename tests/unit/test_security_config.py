"""`[security]` of a cluster.toml."""

from pathlib import Path

import pytest

from glet.config.cluster import load_cluster
from glet.config.security import SecurityConfig
from glet.errors import ConfigError


def loaded(folder: Path, *lines: str) -> SecurityConfig:
    file = folder / "cluster.toml"
    file.write_text("\n".join(("[security]", *lines)) + "\n", encoding="utf-8")
    return load_cluster(file).security


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    security = loaded(tmp_path, 'server_key = "keys/server.key"', 'tokens_file = "tokens"')
    assert security.server_key == str(tmp_path / "keys" / "server.key")
    assert security.tokens_file == str(tmp_path / "tokens")
    assert security.tls_cert == ""


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (('tls_cert = "a.pem"',), "tls_cert and tls_key go together"),
        (('tls_key = "a.pem"',), "tls_cert and tls_key go together"),
        (('tls_client_ca = "a.pem"',), "without tls_cert"),
        (('client_keys = "keys"',), "without server_key"),
        (('password = "1234"',), "password"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, lines: tuple[str, ...], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        loaded(tmp_path, *lines)


@pytest.mark.parametrize(
    ("lines", "guarded"),
    [
        ((), False),
        (('tokens_file = "t"',), False),
        (('tls_cert = "a"', 'tls_key = "b"'), False),
        (('tls_cert = "a"', 'tls_key = "b"', 'tokens_file = "t"'), True),
        (('tls_cert = "a"', 'tls_key = "b"', 'tls_client_ca = "c"'), True),
    ],
)
def test_the_web_is_guarded_when_it_is_encrypted_and_asks_who_is_there(
    tmp_path: Path, lines: tuple[str, ...], guarded: bool
) -> None:
    assert loaded(tmp_path, *lines).web_guarded is guarded
