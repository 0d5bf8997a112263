"""Has the network's signature alone: emulated devices compute nothing, and answer with zeros."""

import numpy as np


def infer(image):
    return np.zeros((len(image), 1000), dtype=np.float32)
