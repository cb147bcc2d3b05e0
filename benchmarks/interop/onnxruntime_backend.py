"""ONNX Runtime behind the name of Triton's own backend, which the wheel of Triton does not bring: a Python-based
backend.

Triton reads and checks the model's configuration, batches and answers as ever; only the graph is run from Python. The
harness puts this file into `backends/onnxruntime/model.py`.
"""

import json
from pathlib import Path
from typing import Any

import onnxruntime
import triton_python_backend_utils as backend


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config: Any) -> Any:
        return config

    def initialize(self, args: dict[str, str]) -> None:
        file = json.loads(args["model_config"]).get("default_model_filename") or "model.onnx"
        folder = Path(args["model_repository"]) / args["model_version"]
        self.session = onnxruntime.InferenceSession(folder / file)
        self.names = [given.name for given in self.session.get_inputs()]

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self.answer(request) for request in requests]

    def answer(self, request: Any) -> Any:
        arrays = {name: backend.get_input_tensor_by_name(request, name).as_numpy() for name in self.names}
        wanted = list(request.requested_output_names())
        try:
            values = self.session.run(wanted, arrays)
        except Exception as error:
            return backend.InferenceResponse([], backend.TritonError(str(error)))
        return backend.InferenceResponse([backend.Tensor(n, v) for n, v in zip(wanted, values, strict=True)])
