"""Serves one model with PyTriton, at the ports given for HTTP, gRPC and metrics."""

import os
import sys

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from served import batch_from_environment, load_from_environment


def main() -> None:
    http, grpc, metrics = map(int, sys.argv[1:])
    infer = load_from_environment()

    @batch
    def answer(x: np.ndarray) -> dict[str, np.ndarray]:
        return {"y": infer(x)}

    max_batch, wait_ms = batch_from_environment()
    batcher = DynamicBatcher(max_queue_delay_microseconds=int(wait_ms * 1e3))
    config = TritonConfig(
        http_address="127.0.0.1", http_port=http, grpc_address="127.0.0.1", grpc_port=grpc,
        metrics_port=metrics, allow_gpu_metrics=False,
    )  # fmt: skip
    with Triton(config=config) as server:
        server.bind(
            os.environ["PEERS_MODEL"],
            answer,
            [Tensor(name="x", dtype=np.float32, shape=(16,))],
            [Tensor(name="y", dtype=np.float32, shape=(16,))],
            config=ModelConfig(max_batch_size=max_batch, batcher=batcher),
        )
        server.serve()


if __name__ == "__main__":
    main()
