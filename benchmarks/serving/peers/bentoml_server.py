"""BentoML and ONNX Runtime: bentoml serve bentoml_server:Alone (or :Together, adaptive batching). The picture is
field `image` of a form, which BentoML hands on as a file."""

import os
from pathlib import Path
from typing import Any

import bentoml
from work import Work

WORKERS, THREADS = int(os.environ["WORKERS"]), int(os.environ["THREADS"])
QUIET = {"access": {"enabled": False}}


@bentoml.service(workers=WORKERS, logging=QUIET, traffic={"timeout": 60})
class Alone:
    def __init__(self) -> None:
        self.work = Work(os.environ["GRAPH"], THREADS)

    @bentoml.api
    def predict(self, image: Path) -> dict[str, Any]:
        return self.work(image.read_bytes())


@bentoml.service(workers=WORKERS, logging=QUIET, traffic={"timeout": 60})
class Runner:
    def __init__(self) -> None:
        self.work = Work(os.environ["GRAPH"], THREADS)

    @bentoml.api(batchable=True, max_batch_size=16, max_latency_ms=1000)
    def several(self, images: list[bytes]) -> list[dict[str, Any]]:
        return self.work.several(images)


@bentoml.service(workers=1, logging=QUIET, traffic={"timeout": 60})
class Together:
    runner = bentoml.depends(Runner)

    @bentoml.api
    async def predict(self, image: Path) -> dict[str, Any]:
        return (await self.runner.to_async.several([image.read_bytes()]))[0]
