"""Key files: made, read, refused."""

import os
import stat
from pathlib import Path

import pytest
import zmq
import zmq.auth

from glet.cli.main import main
from glet.config.cluster import ClusterConfig
from glet.config.security import SecurityConfig
from glet.errors import ConfigError
from glet.serve.preflight import check_cluster
from glet.wire.address import check_bind
from glet.wire.keys import (
    PLAIN,
    client_keys,
    cluster_pair,
    new_pair,
    public_key,
    read_pair,
    read_public,
)


@pytest.fixture(autouse=True)
def _no_keys_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLET_SERVER_KEY", raising=False)
    monkeypatch.delenv("GLET_CLIENT_KEY", raising=False)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_pair_is_what_zmq_reads_and_its_secret_is_private(tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        secret, public = new_pair(tmp_path / "new", "anna")
    finally:
        os.umask(umask)
    assert (mode(secret), mode(public)) == (0o600, 0o644)
    pair = read_pair(secret)
    assert zmq.auth.load_certificate(secret) == (pair.public.encode(), pair.secret.encode())
    assert zmq.auth.load_certificate(public) == (pair.public.encode(), None)
    assert read_public(secret) == read_public(public) == pair.public
    assert pair.secret not in repr(pair)
    assert pair.secret not in repr(client_keys(str(public), secret))
    assert pair.secret not in public.read_text()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    secret, public = new_pair(tmp_path, "a")
    before = secret.read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        new_pair(tmp_path, "a")
    assert secret.read_bytes() == before
    secret.unlink()
    with pytest.raises(ConfigError, match="is there already"):
        new_pair(tmp_path, "a")
    assert not secret.exists()
    assert public.exists()


@pytest.mark.parametrize("name", ["", ".", "../x", "a/b", "a b", ".hidden"])
def test_odd_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="letters, digits"):
        new_pair(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("others", [0o640, 0o604, 0o620, 0o666])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, others: int) -> None:
    secret, _ = new_pair(tmp_path, "a")
    secret.chmod(others)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_pair(secret)


def test_a_mounted_secret_of_another_user_may_be_read_by_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, _ = new_pair(tmp_path, "a")
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    secret.chmod(0o440)
    read_pair(secret)
    secret.chmod(0o444)
    with pytest.raises(ConfigError, match="others can read"):
        read_pair(secret)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"\xff\xfe",
        b'curve\n    public-key = "short"\n    secret-key = "short"\n',
        b'curve\n    public-key = "' + b"~" * 40 + b'"\n    secret-key = "' + b"a" * 40 + b'"\n',
        b'curve\n    public-key = "' + b"#" * 40 + b'"\n    secret-key = "' + b"a" * 40 + b'"\n',
    ],
)
def test_what_is_no_key_file_is_said_in_a_line(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.key"
    file.write_bytes(content)
    file.chmod(0o600)
    for read in (read_pair, read_public):
        with pytest.raises(ConfigError, match="is no key file"):
            read(file)


def test_a_pair_has_to_be_one(tmp_path: Path) -> None:
    one, public = new_pair(tmp_path, "one")
    other, _ = new_pair(tmp_path, "other")
    mixed = one.read_text().replace(read_pair(one).public, read_pair(other).public)
    one.write_text(mixed)
    with pytest.raises(ConfigError, match="not a pair"):
        read_pair(one)
    with pytest.raises(ConfigError, match="holds no secret key"):
        read_pair(public)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_pair(tmp_path / "none.key")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_pair(tmp_path)


def test_clients_take_files_texts_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, _ = new_pair(tmp_path, "own")
    _, server = new_pair(tmp_path, "server")
    text = read_public(server)
    assert client_keys(None, None) == client_keys("", "") == PLAIN
    assert client_keys(text, own) == client_keys(server, own) == (*read_pair(own), text)
    first, second = client_keys(text, None), client_keys(text, "")
    assert first.server == second.server == text
    assert len({first.secret, second.secret, read_pair(own).secret}) == 3
    monkeypatch.setenv("GLET_SERVER_KEY", text)
    monkeypatch.setenv("GLET_CLIENT_KEY", str(own))
    assert client_keys(None, None) == client_keys(text, own)
    assert client_keys("", None) == PLAIN
    assert client_keys(None, "").public != read_pair(own).public
    monkeypatch.delenv("GLET_SERVER_KEY")
    with pytest.raises(ConfigError, match="without a server key"):
        client_keys(None, None)
    for bad in ("nonsense", "~" * 40, "#" * 40, "x" * 41):
        with pytest.raises(ConfigError, match="no key of 40 characters"):
            public_key(bad)


def test_a_cluster_has_its_keys_or_says_what_is_wrong(tmp_path: Path) -> None:
    secret, public = new_pair(tmp_path, "c")
    assert cluster_pair(SecurityConfig()) is None
    assert cluster_pair(SecurityConfig(server_key=str(secret))) == read_pair(secret)

    def check(**security: str) -> None:
        check_cluster(ClusterConfig(security=SecurityConfig(**security)))

    with pytest.raises(ConfigError, match="holds no secret key"):
        check(server_key=str(public))
    with pytest.raises(ConfigError, match="client_keys"):
        check(server_key=str(secret), client_keys=str(tmp_path / "none"))
    (tmp_path / "bad.pub").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"bad\.pub: is no key file"):
        check(server_key=str(secret), client_keys=str(tmp_path))


def test_a_libzmq_without_curve_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, public = new_pair(tmp_path, "c")
    monkeypatch.setattr(zmq, "has", lambda what: False)
    for use in (
        lambda: new_pair(tmp_path, "d"),
        lambda: cluster_pair(SecurityConfig(server_key=str(secret))),
        lambda: client_keys(public, None),
    ):
        with pytest.raises(ConfigError, match="built without CURVE"):
            use()


def test_a_key_opens_addresses_beyond_this_machine(tmp_path: Path) -> None:
    secret, _ = new_pair(tmp_path, "c")
    keyed = ClusterConfig(security=SecurityConfig(server_key=str(secret)))
    assert keyed.binds_beyond
    assert ClusterConfig(insecure=True).binds_beyond
    assert not ClusterConfig().binds_beyond
    with pytest.raises(ConfigError, match=r"server_key; glet keys new .* --insecure"):
        check_bind("tcp://0.0.0.0:1", beyond=False)


def test_the_command_makes_and_shows_keys(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "keys"
    assert main(["keys", "new", str(folder), "--name", "anna"]) == 0
    pair = read_pair(folder / "anna.key")
    said = capsys.readouterr().out
    assert pair.public in said
    assert pair.secret not in said
    for file in ("anna.key", "anna.pub"):
        assert main(["keys", "show", str(folder / file)]) == 0
        assert capsys.readouterr().out.strip() == pair.public
    for arguments in (["new", str(folder), "--name", "anna"], ["show", str(tmp_path / "none")]):
        assert main(["keys", *arguments]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
