"""Sets a peer up in a virtual environment of its own."""

import importlib.util
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from starts import SERVERS, free_ports, libpython_folder

PACKAGES = {
    "mosec": ["mosec==0.9.8"],
    "triton": ["nvidia-pytriton==0.7.0"],
    "litserve": ["litserve==0.2.19"],
    # MLServer's own processes do not start with uvloop 0.22 and later.
    "mlserver": ["mlserver==1.7.1", "uvloop<0.22"],
    # TorchServe's workers import yaml and pkg_resources without asking for them.
    "torchserve": [
        "torchserve==0.12.0", "torch-model-archiver==0.12.0", "pyyaml", "setuptools<81",
    ],
    "ray": ["ray[serve]==2.60.0"],
    "bentoml": ["bentoml==1.4.39"],
}  # fmt: skip
# Peers that come with another's packages.
SAME_AS = {"pytriton": "triton", "triton_c": "triton"}
DONE = "peer-is-set-up"


def is_set_up(peer: str, home: Path) -> bool:
    if peer == "triton_c" and not identity(home).exists():
        return False
    return peer == "glet" or (home / SAME_AS.get(peer, peer) / DONE).exists()


def set_up(peer: str, home: Path) -> None:
    """Makes `home`/peer, once. torch is that of this interpreter: the same kernels for all.

    Raises subprocess.CalledProcessError when pip, PyTriton's layout or the compiler fails; the next
    call starts anew.
    """
    environment = SAME_AS.get(peer, peer)
    if not is_set_up(environment, home):
        set_up_environment(environment, home / environment)
    if peer == "triton_c":
        build_identity(identity(home))


def set_up_environment(peer: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    quiet = ["-q", "--disable-pip-version-check"]
    subprocess.run([python, "-m", "pip", "install", *quiet, *PACKAGES[peer]], check=True)
    share_torch(folder)
    if peer == "triton":
        ports = [str(port) for port in free_ports(3)]
        subprocess.run(
            [python, SERVERS / "triton_layout.py", folder / "server", *ports],
            check=True,
            env={"LD_LIBRARY_PATH": libpython_folder(), "PATH": f"{folder / 'bin'}:/usr/bin:/bin"},
            stderr=subprocess.DEVNULL,
        )
    (folder / DONE).touch()


def identity(home: Path) -> Path:
    """Where Triton looks for its backend in C++."""
    return home / "triton" / "server" / "backends" / "identity" / "libtriton_identity.so"


def build_identity(library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    source = SERVERS / "triton_identity.cpp"
    options = ["-std=c++20", "-O2", "-shared", "-fPIC", "-fvisibility=hidden"]
    subprocess.run(["c++", *options, source, "-o", library], check=True)


def share_torch(folder: Path) -> None:
    """Puts this interpreter's packages behind those of the environment in `folder`."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / version / "site-packages"
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        raise ModuleNotFoundError("torch is not here; pip install 'glet[torch]'")
    here = Path(torch.origin).parents[1]
    (packages / "torch-of-glet.pth").write_text(f"{here}\n", encoding="utf-8")
