"""Serves one model with LitServe, at the port given."""

import sys

import litserve
import numpy as np
from served import batch_from_environment, load_from_environment


class Model(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.infer = load_from_environment()

    def decode_request(self, request: dict) -> np.ndarray:
        return np.array(request["x"], dtype=np.float32)

    def batch(self, inputs: list[np.ndarray]) -> np.ndarray:
        return np.stack(inputs)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.infer(x)

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> dict:
        return {"y": output.tolist()}


if __name__ == "__main__":
    max_batch, wait_ms = batch_from_environment()
    api = Model(max_batch_size=max_batch, batch_timeout=wait_ms / 1e3)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning"
    )
