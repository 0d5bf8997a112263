"""Container engines of a test's own: dockerd in a network namespace that leads nowhere."""

import os
import shutil
import signal
import site
import subprocess
import sys
import tarfile
import tempfile
import uuid
from pathlib import Path
from typing import Any

import psutil
import pytest
from net_hosts import can_make_namespaces, ip
from waiting import WAIT_S, wait_for

IMAGE = "glet:test"
PROGRAMS = ("dockerd", "docker", "containerd", "runc", "iptables", "nsenter")
FOLDERS = ("usr", "proc", "sys", "dev", "tmp", "etc", "run", "root", "home")
MERGED = ("bin", "sbin", "lib", "lib64")
# Of an engine in the machine's own network, which it leaves as it is.
NO_NETWORKS = ("--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false")


def why_not() -> str:
    """Why no engine can be started here; empty when one can."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        return f"needs {', '.join(missing)} (Debian packages docker.io, iptables, util-linux)"
    if not all(Path("/", name).is_symlink() for name in MERGED[:3]):
        return "needs a machine whose /bin and /lib are in /usr"
    return "" if can_make_namespaces() else "needs root and `ip netns`"


WHY_NOT = why_not()
needs_engine = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


class Engine:
    """dockerd, and commands that find it. close() stops what it started."""

    def __init__(self, data: Path | None = None, *, sealed: bool = True) -> None:
        """Skips the test where dockerd does not start.

        `data`: a folder for images and volumes, which stays; without, they go with the engine.
        `sealed`: in a network that leads nowhere. Else containers have no network but the machine's
        (`--network host`), for builds that take packages.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="glet-dk-"))
        self._namespace = f"glet-{uuid.uuid4().hex[:6]}-docker" if sealed else ""
        self._log = (self.folder / "log").open("w")
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{self.folder}/d.sock"}
        if sealed:
            ip("netns", "add", self._namespace)
            ip("-n", self._namespace, "link", "set", "lo", "up")
        self._data = data or self.folder / "data"
        self._daemon = self._start()
        try:
            wait_for(self._is_settled)
            if self._daemon.poll() is not None:
                pytest.skip(f"dockerd does not start here: {self._last_line()}")
        except BaseException:
            self.close()
            raise

    def run(
        self, *words: str | Path, limit_s: float = 4.0 * WAIT_S, **options: Any
    ) -> "subprocess.CompletedProcess[str]":
        """A command that finds this engine; what it printed is captured."""
        return subprocess.run(
            [*map(str, words)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=limit_s,
            **options,
        )

    def inside(self, *words: str | Path) -> list[str]:
        """The command, in the network of this engine, where published ports are at 127.0.0.1."""
        enter = ["nsenter", f"--net=/run/netns/{self._namespace}"] if self._namespace else []
        return [*enter, *map(str, words)]

    def close(self) -> None:
        """Stops every container, the engine and what it started, and removes all but `data`."""
        if self._daemon.poll() is None:
            left = self.run("docker", "ps", "--all", "--quiet").stdout.split()
            if left:
                self.run("docker", "rm", "--force", *left)
            self.run("docker", "swarm", "leave", "--force")
            processes = psutil.Process(self._daemon.pid).children(recursive=True)
            self._daemon.send_signal(signal.SIGTERM)
            _, alive = psutil.wait_procs([*processes, self._daemon_process()], timeout=WAIT_S)
            for process in alive:
                process.kill()
        self._daemon.wait()
        self._log.close()
        if self._namespace:
            ip("netns", "del", self._namespace)
        unmount_below(self._data)
        unmount_below(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self) -> "subprocess.Popen[bytes]":
        folder = self.folder
        (folder / "daemon.json").write_text("{}")  # not that of the machine
        options = {
            "host": self.environment["DOCKER_HOST"],
            "data-root": self._data,
            "exec-root": folder / "exec",
            "pidfile": folder / "d.pid",
            "config-file": folder / "daemon.json",
        }
        words = ["dockerd", *(f"--{option}={value}" for option, value in options.items())]
        dockerd = self.inside(*words, *(() if self._namespace else NO_NETWORKS))
        return subprocess.Popen(dockerd, stdout=self._log, stderr=subprocess.STDOUT)

    def _is_settled(self) -> bool:
        return self._daemon.poll() is not None or self.run("docker", "version").returncode == 0

    def _daemon_process(self) -> psutil.Process:
        return psutil.Process(self._daemon.pid)

    def _last_line(self) -> str:
        lines = (self.folder / "log").read_text().splitlines()
        return lines[-1] if lines else f"exit code {self._daemon.returncode}"


class EngineOfPrograms(Engine):
    """With an image whose programs are this machine's, read-only."""

    def __init__(self, root: Path) -> None:
        """`root` is the checkout."""
        super().__init__()
        shown = {"/usr", sys.base_prefix, sys.prefix, str(root), *site.getsitepackages()}
        shown |= {path for path in sys.path if path.endswith("site-packages")}
        self.environment |= {
            "GLET_IMAGE": IMAGE,
            "GLET_PYTHON": sys.executable,
            "GLET_RUN_OPTIONS": " ".join(f"--volume {path}:{path}:ro" for path in sorted(shown)),
        }
        try:
            self._import_image()
        except BaseException:
            self.close()
            raise

    def _import_image(self) -> None:
        tar = self.folder / "image.tar"
        with tarfile.open(tar, "w") as archive:
            for name in FOLDERS:
                folder = tarfile.TarInfo(name)
                folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
                archive.addfile(folder)
            for name in MERGED:
                link = tarfile.TarInfo(name)
                link.type, link.linkname = tarfile.SYMTYPE, f"usr/{name}"
                archive.addfile(link)
        self.run("docker", "import", tar, IMAGE, check=True)


def unmount_below(folder: Path) -> None:
    for mount in psutil.disk_partitions(all=True):
        if mount.mountpoint.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", mount.mountpoint], capture_output=True)
