"""Where torch's library is, found without importing torch (which takes seconds and 200 MB)."""

import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import msgspec

from glet.errors import DeviceError

FIRST = (2, 11)
BEFORE = (2, 15)
WANTED = f">= {FIRST[0]}.{FIRST[1]} and < {BEFORE[0]}.{BEFORE[1]}"


class TorchInstall(msgspec.Struct, frozen=True):
    """An installed torch. `cuda`: the version of CUDA that it was built for, or empty."""

    version: str
    libtorch_cpu: Path
    cuda: str = ""


def find_torch() -> TorchInstall:
    """Raises DeviceError when torch is missing, of a version glet does not know, or incomplete."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        raise DeviceError("torch is not installed; pip install 'glet[torch]'")
    try:
        installed = version("torch")
    except PackageNotFoundError as error:
        raise DeviceError(
            f"torch at {found.origin} has no package metadata; pip install 'glet[torch]'"
        ) from error
    if not is_supported(installed):
        raise DeviceError(f"found torch {installed}, wanted {WANTED}; pip install 'glet[torch]'")
    library = Path(found.origin).parent / "lib" / "libtorch_cpu.so"
    if not library.is_file():
        raise DeviceError(f"torch {installed} has no {library}; pip install 'glet[torch]'")
    return TorchInstall(installed, library, cuda_of(Path(found.origin).with_name("version.py")))


def cuda_of(version_file: Path) -> str:
    """What torch/version.py says of CUDA: `13.0`, or '' for a build without."""
    try:
        text = version_file.read_text(encoding="utf-8")
    except OSError:
        return ""
    said = re.search(r"^cuda\b[^=\n]*= *['\"]([^'\"]+)['\"]", text, re.MULTILINE)
    return said[1] if said else ""


def is_supported(installed: str) -> bool:
    """Whether a version like `2.13.0+cpu` is one whose C interface glet knows."""
    numbers = re.match(r"(\d+)\.(\d+)", installed)
    return numbers is not None and FIRST <= (int(numbers[1]), int(numbers[2])) < BEFORE
