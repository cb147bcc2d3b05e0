"""FastAPI and ONNX Runtime. The graph, its threads and the manner come by environment: uvicorn starts more processes.

python fastapi_server.py PORT WORKERS
"""

import os
import sys
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI
from work import Work

app = FastAPI()
work = Work(os.environ["GRAPH"], int(os.environ["THREADS"]))


@app.get("/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/predict")
def predict(data: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    return work(data)  # FastAPI runs `def` in a pool of threads, as its pages advise for what blocks


@app.post("/predict_in_loop")
async def predict_in_loop(data: Annotated[bytes, Body(media_type="image/jpeg")]) -> dict[str, Any]:
    return work(data)  # nothing else can happen meanwhile, but no thread is paid for


if __name__ == "__main__":
    uvicorn.run(
        "fastapi_server:app",
        port=int(sys.argv[1]),
        workers=int(sys.argv[2]),
        log_level="error",
        access_log=False,
        timeout_worker_healthcheck=60,  # as it comes, a worker that imports for more than 5 s is killed, for ever
    )
