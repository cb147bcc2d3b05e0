"""MLServer and ONNX Runtime: a model class, found through model-settings.json. The picture is base64 in V2 JSON."""

import json
import os

from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from work import Work


class Predict(MLModel):
    async def load(self) -> bool:
        self.work = Work(os.environ["GRAPH"], int(os.environ["THREADS"]))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        pictures = Base64Codec.decode_input(payload.inputs[0])
        answers = [json.dumps(answer) for answer in self.work.several(pictures)]
        return InferenceResponse(model_name=self.name, outputs=[StringCodec.encode_output("answer", answers)])
