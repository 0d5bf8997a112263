"""Runs at the start of every Python that has this folder in PYTHONPATH: a GPU without torch.

`glet.serve.capture_torch` is then the module beside this one. An executor cannot tell: everything
else of it is real, on the fake libcuda.so.1 of tests/cpp. With FAKE_TORCH, a library made of
tests/cpp/fake_torch.cpp, that is torch's C interface, and what compiles for a GPU gives it as well.
"""

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

STAND_INS = {"glet.serve.capture_torch": "gpu_without_torch.py"}
if "FAKE_TORCH" in os.environ:
    STAND_INS["glet.serve.torch_path"] = "torch_path_of_fake.py"
    STAND_INS["glet.serve.aoti_gpu"] = "aoti_without_torch.py"


class _InsteadOfTorch(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in STAND_INS:
            return None
        return spec_from_file_location(name, Path(__file__).with_name(STAND_INS[name]))


sys.meta_path.insert(0, _InsteadOfTorch())
