"""Serves one model with Mosec, which takes its own options from the command line."""

import numpy as np
from mosec import Server, Worker
from served import batch_from_environment, load_from_environment


class Model(Worker):
    def __init__(self) -> None:
        self.infer = load_from_environment()

    def forward(self, data: list[dict]) -> list[dict]:
        rows = np.array([each["x"] for each in data], dtype=np.float32)
        return [{"y": row} for row in self.infer(rows).tolist()]


if __name__ == "__main__":
    max_batch, wait_ms = batch_from_environment()
    server = Server()
    server.append_worker(Model, num=1, max_batch_size=max_batch, max_wait_time=int(wait_ms))
    server.run()
