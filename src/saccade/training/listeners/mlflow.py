"""Tells an MLflow tracking server (or folder) of a run: recipe as parameters, curves as metrics.

Where it goes is MLflow's own business: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME (default "saccade").
"""

import os
from dataclasses import asdict

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from saccade.training.events import Chosen, Epoch, Event, Finished, Step
from saccade.training.listener import Listener
from saccade.training.run import Run

# Hazard: by default MLflow asks a server that is away for minutes before it gives up, and the training waits meanwhile.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

EVERY_S = 5.0
"""Steps are told of at most this often: each telling is a request."""
LONGEST = 500
"""Characters of a parameter's value that MLflow keeps."""


class MLflow(Listener):
    name = "mlflow"

    def __init__(self, run: Run) -> None:
        self._client = MlflowClient()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "saccade")
        known = self._client.get_experiment_by_name(experiment)
        place = known.experiment_id if known else self._client.create_experiment(experiment)
        self._id = str(self._client.create_run(place, run_name=run.folder.name).info.run_id)
        told = [(k, v) for k, v in asdict(run.recipe).items() if not run.recipe.is_auto(k)]
        self._client.log_batch(self._id, params=[Param(k, str(v)[:LONGEST]) for k, v in told])
        self._told = 0.0

    def hear(self, event: Event) -> None:
        if isinstance(event, Chosen):
            self._client.log_param(self._id, event.key, str(event.value)[:LONGEST])
        elif isinstance(event, Step) and event.time - self._told >= EVERY_S:
            self._told = event.time
            values = {"train_loss": event.loss, "rate": event.rate, "images_per_s": event.images_per_s}
            self._metrics(event.step, event.time, values)
        elif isinstance(event, Epoch):
            values = {"epoch_loss": event.loss, "val_loss": event.val_loss, f"val_{event.metric_name}": event.metric}
            self._metrics(event.step, event.time, values)
        elif isinstance(event, Finished):
            self._metrics(event.step, event.time, {f"kept_{event.metric_name}": event.metric})

    def close(self, finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if finished else "FAILED")

    def _metrics(self, step: int, time_s: float, values: dict[str, float]) -> None:
        self._client.log_batch(self._id, metrics=[Metric(k, v, int(time_s * 1000), step) for k, v in values.items()])


LISTENER = MLflow
