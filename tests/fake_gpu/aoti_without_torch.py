"""Compiles for a GPU without a compiler: every network becomes y = 2 x of tests/cpp/fake_torch.cpp.

A model with `odd` in its name cannot be compiled; one with `broken` becomes a library that does
not run. COMPILE_LOG is a file that every compilation is noted in.
"""

import os
import zipfile
from pathlib import Path


def compile_network(folder: Path, package: Path) -> None:
    with open(os.environ["COMPILE_LOG"], "a", encoding="utf-8") as log:
        log.write(f"{folder.name} CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    if "odd" in folder.name:
        raise RuntimeError("aten::odd has no kernel\nand much more is said")
    library = Path(os.environ["FAKE_TORCH"]).read_bytes()
    inside = "m/data/aotinductor/model"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr(f"{inside}/w.wrapper.so", b"" if "broken" in folder.name else library)
        archive.writestr(f"{inside}/triton_0.cubin", b"kernel")
