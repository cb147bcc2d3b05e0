"""A model of Triton's Python backend with ONNX Runtime. The picture comes as the one BYTES element of a binary
tensor."""

import json
import os
import sys

import numpy as np

# The backend starts the interpreter of the machine, without the environment that holds the libraries.
sys.path[:0] = [os.environ["SITE_PACKAGES"], os.environ["PEERS"]]

import triton_python_backend_utils as backend  # noqa: E402
from work import Work  # noqa: E402


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self.work = Work(os.environ["GRAPH"], int(os.environ["THREADS"]))

    def execute(self, requests: list) -> list:
        pictures = [backend.get_input_tensor_by_name(r, "image").as_numpy().reshape(-1)[0] for r in requests]
        texts = [json.dumps(answer).encode() for answer in self.work.several(pictures)]
        outputs = [backend.Tensor("answer", np.array([[text]], np.object_)) for text in texts]
        return [backend.InferenceResponse([output]) for output in outputs]
