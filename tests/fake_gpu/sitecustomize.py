"""Runs at the start of every Python that has this folder in PYTHONPATH: a GPU without torch.

`glet.serve.capture_torch` is then the module beside this one. An executor cannot tell: everything
else of it is real, on the fake libcuda.so.1 of tests/cpp.
"""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType


class _InsteadOfTorch(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "glet.serve.capture_torch":
            return None
        return spec_from_file_location(name, Path(__file__).with_name("gpu_without_torch.py"))


sys.meta_path.insert(0, _InsteadOfTorch())
