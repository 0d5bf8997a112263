"""As glet.serve.torch_path, but for where torch is: FAKE_TORCH, see sitecustomize.py."""

import os
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import glet.serve

_FILE = Path(glet.serve.__path__[0]) / "torch_path.py"
_SPEC = spec_from_file_location("torch_path_itself", _FILE)
assert _SPEC is not None
assert _SPEC.loader is not None
_ITSELF = module_from_spec(_SPEC)
_SPEC.loader.exec_module(_ITSELF)
globals().update({k: v for k, v in vars(_ITSELF).items() if not k.startswith("__")})


def find_torch() -> object:
    return _ITSELF.TorchInstall("2.13.0", Path(os.environ["FAKE_TORCH"]), "13.0")
