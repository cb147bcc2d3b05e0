"""A FastAPI + ONNX Runtime server as users write it. Runs in an environment of its own, knows nothing of saccade.

python fastapi_server.py MODEL.onnx PORT
"""

import io
import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI, Request, UploadFile
from PIL import Image

app = FastAPI()
session = onnxruntime.InferenceSession(sys.argv[1])
labels = [f"class {i}" for i in range(1000)]


def predict(data: bytes) -> dict:
    picture = Image.open(io.BytesIO(data)).convert("RGB").resize((224, 224))
    scores = session.run(None, {"image": np.asarray(picture)[None]})[0][0]
    best = np.argsort(scores)[::-1][:5]
    return {"predictions": [{"class_id": int(i), "label": labels[i], "score": float(scores[i])} for i in best]}


@app.get("/readyz")
async def ready() -> dict:
    return {}


@app.post("/upload")
async def upload(image: UploadFile) -> dict:
    return predict(await image.read())


@app.post("/raw")
async def raw(request: Request) -> dict:
    return predict(await request.body())


uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
