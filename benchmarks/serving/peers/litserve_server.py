"""LitServe and ONNX Runtime: python litserve_server.py PORT WORKERS BATCH; the picture is field `image` of a form."""

import os
import sys
from typing import Any

import litserve
from work import Work


class Predict(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.work = Work(os.environ["GRAPH"], int(os.environ["THREADS"]))

    def decode_request(self, request):  # without a type: LitServe makes a schema of it
        return request["image"].file.read()

    def predict(self, x: Any) -> Any:
        return self.work.several(x) if isinstance(x, list) else self.work(x)

    def encode_response(self, output: Any) -> Any:
        return output


if __name__ == "__main__":
    port, workers, batch = map(int, sys.argv[1:])
    # A batch is what waits at the moment: with more patience a small machine only idles.
    api = Predict(max_batch_size=batch, batch_timeout=0.002 if batch > 1 else 0.0)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=workers, fast_queue=bool(int(os.environ["FAST"]))
    )
    server.run(port=port, log_level="error", generate_client_file=False, access_log=False)
