"""One model as an MLServer runtime."""

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from served import load_from_environment


class Model(MLModel):
    async def load(self) -> bool:
        self.infer = load_from_environment()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32, copy=False)
        output = NumpyCodec.encode_output("y", self.infer(rows))
        return InferenceResponse(model_name=self.name, outputs=[output])
