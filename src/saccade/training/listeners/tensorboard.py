"""Writes a run's curves and its first batch as TensorBoard event files into RUN/tensorboard: no server is needed."""

import io
from collections.abc import Mapping

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event as Record
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from saccade.training.events import Epoch, Event, Finished, Step
from saccade.training.listener import Listener
from saccade.training.run import Run


class TensorBoard(Listener):
    """See them with `tensorboard --logdir RUN`."""

    name = "tensorboard"

    def __init__(self, run: Run) -> None:
        self._run = run
        self._writer = EventFileWriter(str(run.folder / "tensorboard"))
        self._shown = False

    def hear(self, event: Event) -> None:
        if isinstance(event, Step):
            self._show_first_batch(event)
            speed = {"train/loss": event.loss, "train/rate": event.rate, "train/images_per_s": event.images_per_s}
            self._scalars(event.step, event.time, speed)
        elif isinstance(event, Epoch):
            values = {"val/loss": event.val_loss, f"val/{event.metric_name}": event.metric}
            self._scalars(event.step, event.time, values)
        elif isinstance(event, Finished):
            self._scalars(event.step, event.time, {f"kept/{event.metric_name}": event.metric})

    def close(self, finished: bool) -> None:
        self._writer.close()

    def _scalars(self, step: int, time: float, values: Mapping[str, float]) -> None:
        rows = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._writer.add_event(Record(step=step, wall_time=time, summary=Summary(value=rows)))

    def _show_first_batch(self, event: Step) -> None:
        sheet = self._run.samples / "first_batch.png"
        if self._shown or not sheet.exists():
            return
        self._shown = True
        data = sheet.read_bytes()
        width, height = Image.open(io.BytesIO(data)).size
        image = Summary.Image(encoded_image_string=data, width=width, height=height, colorspace=3)
        row = Summary.Value(tag="first_batch", image=image)
        self._writer.add_event(Record(step=0, wall_time=event.time, summary=Summary(value=[row])))


LISTENER = TensorBoard
