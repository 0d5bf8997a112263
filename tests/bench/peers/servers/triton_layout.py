"""Has PyTriton lay out its tritonserver in a new folder, and keeps that layout.

PyTriton places the Python stub that fits this interpreter; the binary run from site-packages
answers with empty tensors.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("ports", type=int, nargs=3, help="for HTTP, gRPC and metrics")
    args = parser.parse_args()
    http, grpc, metrics = args.ports
    config = TritonConfig(
        http_port=http, grpc_port=grpc, metrics_port=metrics, allow_gpu_metrics=False
    )
    with tempfile.TemporaryDirectory() as scratch:
        space = Path(scratch) / "space"
        with Triton(config=config, workspace=str(space)) as server:
            tensor = Tensor(dtype=np.float32, shape=(1,))
            server.bind("one", lambda requests: requests, [tensor], [tensor], config=ModelConfig())
            server.run()
            shutil.copytree(space / "tritonserver", args.folder, symlinks=False)


if __name__ == "__main__":
    main()
