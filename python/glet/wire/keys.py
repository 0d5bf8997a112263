"""CURVE keys in files: certificates of ZeroMQ, as `zmq.auth` and czmq read and write them."""

import os
import stat
import struct
import tempfile
from pathlib import Path
from typing import NamedTuple

import zmq
import zmq.auth
from zmq.utils import z85

from glet.config.security import SecurityConfig
from glet.errors import ConfigError

KEY_CHARACTERS = 40
SECRET, PUBLIC = ".key", ".pub"
Key = str | os.PathLike[str] | None
"""A file or, of public keys, the key in Z85; see client_keys()."""
SERVER_KEY_VARIABLE, CLIENT_KEY_VARIABLE = "GLET_SERVER_KEY", "GLET_CLIENT_KEY"


class KeyPair(NamedTuple):
    """In Z85. Printing one does not show the secret."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


class ClientKeys(NamedTuple):
    """A client's own pair, and the public key of the cluster it connects to; all empty: plain."""

    public: str = ""
    secret: str = ""
    server: str = ""

    def __repr__(self) -> str:
        return f"ClientKeys(public={self.public!r}, server={self.server!r})"


PLAIN = ClientKeys()


def need_curve() -> None:
    """Raises ConfigError when this libzmq cannot encrypt."""
    if not zmq.has("curve"):
        raise ConfigError(
            f"libzmq {zmq.zmq_version()} was built without CURVE, so keys cannot be used; "
            "pip install --force-reinstall --only-binary :all: pyzmq brings one that has it"
        )


def new_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Makes NAME.key (secret, 0600) and NAME.pub (0644). Raises ConfigError for names in use."""
    need_curve()
    if not name or name.startswith(".") or not all(c.isalnum() or c in "._-" for c in name):
        raise ConfigError(f"name {name!r}; valid are letters, digits and . _ -, first no dot")
    secret, public = folder / f"{name}{SECRET}", folder / f"{name}{PUBLIC}"
    for path in (secret, public):
        if path.exists():
            raise ConfigError(f"{path}: is there already; choose another --name, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The library's files are readable by all; this folder (0700) is not.
        with tempfile.TemporaryDirectory() as made:
            made_public, made_secret = zmq.auth.create_certificates(made, name)
            _put(secret, Path(made_secret).read_bytes(), 0o600)
            _put(public, Path(made_public).read_bytes(), 0o644)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot write keys: {error.strerror}") from error
    return secret, public


def read_pair(path: Path) -> KeyPair:
    """The pair in a secret key file. Raises ConfigError when it is none, or others can read it."""
    public, secret = _certificate(path)
    if not secret:
        raise ConfigError(f"{path}: holds no secret key; NAME.key of `glet keys new` does")
    _check_private(path)
    try:
        fits = zmq.curve_public(secret.encode()).decode() == public
    except zmq.ZMQError:
        fits = False
    if not fits:
        raise ConfigError(f"{path}: its secret and its public key are not a pair")
    return KeyPair(public, secret)


def read_public(path: Path) -> str:
    """The public key, in Z85, of a public or secret key file. Raises ConfigError."""
    return _certificate(path)[0]


def public_key(given: str) -> str:
    """Of a key file, or of a key in Z85. Raises ConfigError."""
    path = os.path.expanduser(given)
    if not os.path.exists(path) and _is_key(given):
        return given
    if not os.path.exists(path):
        raise ConfigError(
            f"server key {given!r}: is no file, and no key of {KEY_CHARACTERS} characters; "
            "valid is NAME.pub of `glet keys new`, or what `glet keys show` prints"
        )
    return read_public(Path(path))


def cluster_pair(security: SecurityConfig) -> KeyPair | None:
    """The cluster's own; None without. Raises ConfigError."""
    if not security.server_key:
        return None
    need_curve()
    return read_pair(Path(security.server_key))


def check_keys(security: SecurityConfig) -> None:
    """Reads all keys that a frontend needs. Raises ConfigError for the first that is wrong."""
    cluster_pair(security)
    for path in key_files(Path(security.client_keys)) if security.client_keys else ():
        read_public(path)


def key_files(folder: Path) -> list[Path]:
    """The public keys in a folder. Raises ConfigError when it cannot be read."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == PUBLIC)
    except OSError as error:
        raise ConfigError(f"client_keys {folder}: cannot be read: {error.strerror}") from error


def client_keys(server_key: Key, client_key: Key) -> ClientKeys:
    """What a client connects with: a pair of its own, or a new one where `client_key` is empty.

    None stands for GLET_SERVER_KEY and GLET_CLIENT_KEY of the environment; "" for no key. Raises
    ConfigError for what is no key.
    """
    server = os.environ.get(SERVER_KEY_VARIABLE, "") if server_key is None else str(server_key)
    own = os.environ.get(CLIENT_KEY_VARIABLE, "") if client_key is None else str(client_key)
    if not server:
        if own and (server_key is None or client_key):
            raise ConfigError(
                "a client key is given without a server key; give the public key of glet there: "
                f"server_key, --server-key or {SERVER_KEY_VARIABLE}"
            )
        return PLAIN
    need_curve()
    key = public_key(server)
    if own:
        return ClientKeys(*read_pair(Path(os.path.expanduser(own))), key)
    public, secret = zmq.curve_keypair()
    return ClientKeys(public.decode(), secret.decode(), key)


def _put(path: Path, content: bytes, mode: int) -> None:
    """Never over another file. Raises OSError."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content)


def _certificate(path: Path) -> tuple[str, str]:
    """Public and secret key; the latter may be empty. Raises ConfigError."""
    try:
        with path.open("rb"):  # whose error says more than the library's
            public, secret = zmq.auth.load_certificate(path)
        found = public.decode(), (secret or b"").decode()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, IndexError):  # the latter: a key without its `=`
        found = "", ""
    if not _is_key(found[0]) or (found[1] and not _is_key(found[1])):
        raise ConfigError(f"{path}: is no key file; `glet keys new DIR` makes one")
    return found


def _is_key(text: str) -> bool:
    if len(text) != KEY_CHARACTERS or not text.isascii():
        return False
    try:
        z85.decode(text.encode())
    except (KeyError, struct.error):  # another character; five of them beyond 32 bits
        return False
    return True


def _check_private(path: Path) -> None:
    """As ssh does: what is ours is for us alone; what is another's, none but its group may read."""
    found = path.stat()
    shared = stat.S_IMODE(found.st_mode) & (0o077 if found.st_uid == os.geteuid() else 0o007)
    if shared:
        raise ConfigError(
            f"{path}: others can read this secret key (mode {stat.S_IMODE(found.st_mode):04o}); "
            f"chmod 600 {path}"
        )
