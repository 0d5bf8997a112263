"""One model as a BentoML service."""

import os

import bentoml
import numpy as np
from served import batch_from_environment, load_from_environment

MAX_BATCH, _ = batch_from_environment()
# What a request may take in all; the service finds out itself how long a batch may wait to fill.
MAX_LATENCY_MS = int(os.environ["PEERS_MAX_LATENCY_MS"])


@bentoml.service(workers=1, traffic={"timeout": 60})
class Model:
    def __init__(self) -> None:
        self.infer = load_from_environment()

    @bentoml.api(
        batchable=True, max_batch_size=MAX_BATCH, max_latency_ms=MAX_LATENCY_MS, route="/predict"
    )
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.infer(np.asarray(x, dtype=np.float32))
