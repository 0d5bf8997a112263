"""Compiles one exported program with AOTInductor: `python -m glet.serve.aoti PROGRAM OUT`.

For the first GPU instead of the CPU: `python -m glet.serve.aoti --gpu ENTRY_FOLDER OUT`.

A process of its own, so that a crash or a kill for memory of the compiler costs one model and
not the caller. Leaves OUT/model.so (for a GPU with its kernels beside it) and OUT/result.json, or
OUT/reason.txt when it failed.
"""

import json
import os
import shutil
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import msgspec

from glet.serve.compile_cache import LIBRARY

RESULT = "result.json"
REASON = "reason.txt"
KERNEL = ".cubin"


class CompileResult(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the library can run alone; `needs` says what it needs otherwise."""

    needs: str = ""


def main(arguments: Sequence[str]) -> None:
    """Compiles; an exception's first line is left for the caller to read."""
    *options, given, folder = arguments
    out = Path(folder)

    def leave_reason(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        first = next(iter(str(error).strip().splitlines()), "")
        (out / REASON).write_text(f"{kind.__name__}: {first}", encoding="utf-8")
        sys.__excepthook__(kind, error, trace)

    sys.excepthook = leave_reason
    package = out / "package.pt2"
    if options == ["--gpu"]:
        # Only a process that compiles for a GPU needs what loads networks onto one.
        from glet.serve.aoti_gpu import compile_network

        compile_network(Path(given), package)
    else:
        compile_program(Path(given), package)
    needs = unpack(package, out)
    package.unlink()
    (out / RESULT).write_bytes(msgspec.json.encode(CompileResult(needs=needs)))


def compile_program(program: Path, package: Path) -> None:
    """The package of AOTInductor for an exported program, at `package`."""
    import torch

    options: dict[str, object] = {
        # Folds constants and lays weights out for the CPU's kernels.
        "freezing": True,
        # A gpulet's thread count is known when the code runs, not when it is compiled. `threads`
        # then only says how finely loops are cut, and is fixed lest the environment decides.
        "cpp.dynamic_threads": True,
        "cpp.threads": os.cpu_count() or 1,
    }
    exported = torch.export.load(str(program))
    with torch.no_grad():
        torch._inductor.aoti_compile_and_package(
            exported, package_path=str(package), inductor_configs=options
        )


def unpack(package: Path, out: Path) -> str:
    """Extracts the library of a package to `out`, and its kernels for a GPU.

    Returns what the library needs beyond them, or ''.
    """
    with zipfile.ZipFile(package) as archive:
        parts = [name for name in archive.namelist() if "/data/aotinductor/" in name]
        libraries = [name for name in parts if name.endswith(".so")]
        if len(libraries) != 1:
            raise ValueError(f"the package has {len(libraries)} libraries, wanted 1")
        with archive.open(libraries[0]) as source, open(out / LIBRARY, "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        for name in parts:
            if name.endswith(".json") and not name.endswith("_metadata.json"):
                # The calls that AOTInductor leaves to a "proxy executor" inside torch.
                said = json.loads(archive.read(name))
                nodes = said.get("nodes", []) if isinstance(said, dict) else []
                operators = sorted({node["node"]["target"] for node in nodes})
                if operators:
                    return f"{', '.join(operators)} can only be called through torch"
            elif name.endswith(KERNEL):
                (out / Path(name).name).write_bytes(archive.read(name))
            elif not name.endswith((".so", ".cpp", ".json", ".h", ".txt")):
                return f"the library needs {Path(name).name} beside it"
    return ""


if __name__ == "__main__":
    main(sys.argv[1:])
