"""FastAPI and ONNX Runtime as users write it: one process, Pillow, a session as it comes. python fastapi_plain.py
PORT"""

import io
import os
import sys
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image
from work import Work

app = FastAPI()


class Plain(Work):
    """The same answers from a session with its own defaults, and pictures opened with Pillow."""

    def options(self, threads: int) -> onnxruntime.SessionOptions:
        return onnxruntime.SessionOptions()

    def pixels(self, data: bytes) -> tuple[np.ndarray, tuple[int, int]]:
        image = Image.open(io.BytesIO(data)).convert("RGB")
        return np.asarray(image.resize((self.width, self.height))), (image.height, image.width)


work = Plain(os.environ["GRAPH"])


@app.get("/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/predict")
async def predict(request: Request) -> dict[str, Any]:
    return work(await request.body())


uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
