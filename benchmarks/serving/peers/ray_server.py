"""Ray Serve and ONNX Runtime: python ray_server.py PORT REPLICAS BATCH. Ends with SIGTERM."""

import os
import signal
import sys
from typing import Any

import ray
from ray import serve
from starlette.requests import Request
from work import Work

GRAPH, THREADS = os.environ["GRAPH"], int(os.environ["THREADS"])
PORT, REPLICAS, BATCH = map(int, sys.argv[1:])


class Alone:
    def __init__(self) -> None:
        self.work = Work(GRAPH, THREADS)

    async def __call__(self, request: Request) -> dict[str, Any]:
        return self.work(await request.body())


class Together:
    def __init__(self) -> None:
        self.work = Work(GRAPH, THREADS)

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.002)
    async def several(self, pictures: list[bytes]) -> list[dict[str, Any]]:
        return self.work.several(pictures)

    async def __call__(self, request: Request) -> dict[str, Any]:
        return await self.several(await request.body())


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH120, PTH100
    ray.init(
        num_cpus=REPLICAS + 1,  # the proxy and the controller ask for none; one spare lets every replica start
        include_dashboard=False,
        logging_level="ERROR",
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": here, "GRAPH": GRAPH, "THREADS": str(THREADS)}},
    )
    serve.start(http_options={"host": "127.0.0.1", "port": PORT}, logging_config={"enable_access_log": False})
    made = serve.deployment(
        Together if BATCH > 1 else Alone,
        num_replicas=REPLICAS,
        max_ongoing_requests=64,
        ray_actor_options={"num_cpus": 1},
    )
    serve.run(made.bind(), name="predict", route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
