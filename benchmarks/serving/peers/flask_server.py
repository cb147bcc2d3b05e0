"""Flask and ONNX Runtime, for gunicorn: gunicorn -b 127.0.0.1:PORT flask_server:app."""

import os
from typing import Any

from work import Work

from flask import Flask, request

app = Flask(__name__)
work = Work(os.environ["GRAPH"], int(os.environ["THREADS"]))


@app.get("/ready")
def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/predict")
def predict() -> dict[str, Any]:
    return work(request.get_data())
