"""What the common loop asks of Keras on TensorFlow."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from saccade.errors import TrainingError, first_line
from saccade.process import TRAINING, tune_memory
from saccade.tasks.keras import arrays, fill, tf
from saccade.tasks.task import Task
from saccade.training import checkpoints, schedules
from saccade.training.checkpoints import Checkpoint
from saccade.training.events import RateFound
from saccade.training.learner import Learner
from saccade.training.run import Run
from saccade.training.trainers.keras import augment, networks
from saccade.training.trainers.keras.batches import Wish, drawn, order, pack, ready
from saccade.training.trainers.keras.optimizers import clipped
from saccade.training.trainers.keras.session import Session, open_session, set_threads
from saccade.types import Array, Labels, Sample


class KerasLearner(Learner):
    s: Session

    def __init__(self, run: Run, labels: Labels, task: Task, train: Sequence[Sample], val: Sequence[Sample]) -> None:
        recipe = run.recipe
        set_threads(recipe)
        self._train = pack(train, labels, task, run.preprocess, recipe)
        self._val = pack(val, labels, task, run.preprocess, recipe)
        self.train, self.val = len(train), len(val)
        self.val_targets = self._val.targets
        self.said = []
        self.s = open_session(recipe, labels, task, self._train, self.said, begins=not checkpoints.last(run).exists())
        self._tuned = False
        self._flow: Iterator[tuple[Array, Any, Any]] | None = None
        self._slopes = tf.function(self._slopes_of, reduce_retracing=True, jit_compile=recipe.compile)
        self._move = tf.function(self._moved)
        self._named = tf.function(self._named_of, reduce_retracing=True)

    @property
    def parameters(self) -> int:
        return networks.parameters(self.s.network)

    @property
    def device(self) -> str:
        return str(self.s.recipe.device)

    def order(self, epoch: int) -> Array:
        return order(self.train, self.s.recipe.seed, epoch)

    def step(self, places: Array) -> tuple[float, list[str]]:
        words: list[str] = []
        while True:
            try:
                return self._learned(places), words
            except tf.errors.ResourceExhaustedError as error:
                if self.s.micro <= 1:
                    raise TrainingError(
                        "not even one picture at a time fits into memory", hint="choose a smaller size or network"
                    ) from error
            except tf.errors.InvalidArgumentError as error:
                if not self.s.recipe.compile:
                    raise
                named = re.search(r"on XLA_\w+: (\w+)", str(error))
                what = f"its operation {named[1]}" if named else first_line(error)
                raise TrainingError(f"XLA cannot compile this network: {what}", hint="set compile=false") from error
            self.s.micro = max(1, self.s.micro // 2)
            self._flow = None
            words.append(f"out of memory: images now go through {self.s.micro} at a time, gradients are added up")

    def _learned(self, places: Array) -> float:
        total = 0.0
        slopes: list[Any] = []
        for number, start in enumerate(range(0, len(places), self.s.micro)):
            piece = places[start : start + self.s.micro]
            images, targets = self._next(Wish(self.s.step, number, piece))
            loss, found = self._slopes(images, targets, np.float32(len(piece) / len(places)))
            slopes = [a + b for a, b in zip(slopes, found, strict=True)] if slopes else found
            total += float(loss)
        if np.isfinite(total):
            self._move(slopes, np.float32(self.s.now))
        return total

    def _next(self, wish: Wish) -> tuple[Any, Any]:
        """Images and targets of a piece, from those put ready; when others were put ready, anew."""
        for _ in range(2):
            if self._flow is None:
                self._flow = ready(self._train, self.s.recipe, self._wishes, self._soften)
            named, images, targets = next(self._flow)
            if not self._tuned:  # Hazard: tf.data lowers malloc's thresholds when its first generator starts.
                self._tuned = tune_memory(TRAINING)
            if tuple(named) == (wish.step, wish.number):
                return images, targets
            self._flow = None
        raise AssertionError("pieces come in another order than they are asked for; this is a bug")

    def _wishes(self) -> Iterator[Wish]:
        """Every piece from the current step on, in the order the common loop asks for them."""
        s = self.s
        step, epoch, position, micro = s.step, s.epoch, s.position, s.micro
        while True:
            turn = self.turn(epoch)
            while position < s.steps_an_epoch * s.per_step:
                progress = s.progress(step)
                places = turn[position : position + s.per_step]
                share = schedules.size_share(s.recipe, progress, step)
                several, still = schedules.joins(s.recipe, progress), schedules.rests(s.recipe, progress)
                for number, start in enumerate(range(0, len(places), micro)):
                    yield Wish(step, number, places[start : start + micro], share, several, still)
                step, position = step + 1, position + s.per_step
            epoch, position = epoch + 1, 0

    def _soften(self, targets: Any) -> Any:
        return self.s.half.soft_targets(targets, self.s.labels)

    def _slopes_of(self, images: Any, targets: Any, share: Any) -> tuple[Any, list[Any]]:
        """The loss and its gradients, times the piece's share of the batch."""
        s = self.s
        with tf.GradientTape() as tape:
            raw = s.network(images, training=True)
            loss = s.half.loss(s.half.named(raw), targets, s.labels, s.options) * share
        slopes = tape.gradient(loss, s.network.trainable_variables)
        found = zip(slopes, s.network.trainable_variables, strict=True)
        return loss, [tf.zeros(v.shape) if g is None else tf.convert_to_tensor(g) for g, v in found]

    def _moved(self, slopes: list[Any], rate: Any) -> None:
        self.s.optimizer.move(clipped(slopes, self.s.recipe.clip), rate)
        if self.s.average is not None:
            self.s.average.update()

    def find_rate(self, steps: int = 60) -> RateFound:
        """The range test of arXiv:1506.01186: the rate rises from 1e-6 to 1; a tenth of the
        rate with the lowest loss."""
        s = self.s
        weights, state = arrays(s.network), s.optimizer.state()
        rates = np.geomspace(1e-6, 1.0, steps)
        turn = self.order(-1)
        smooth: list[float] = []
        average, s.average = s.average, None
        move = tf.function(self._moved)
        for number, rate in enumerate(rates):
            piece = drawn(self._train, s.recipe, Wish(s.step, 0, np.roll(turn, -number * s.micro)[: s.micro]))
            images, targets = augment.apply(piece["pixels"], self._soften(_tensors(piece["targets"])), piece["drawn"])
            loss, slopes = self._slopes(images, targets, np.float32(1))
            value = float(loss)
            if not np.isfinite(value) or (smooth and value > 4 * min(smooth)):
                break
            move(slopes, np.float32(rate))
            smooth.append(value if not smooth else 0.8 * smooth[-1] + 0.2 * value)
        fill(s.network, weights)
        s.optimizer.fill(state)
        s.average = average
        lowest = int(np.argmin(smooth)) if smooth else 0
        return RateFound(tuple(float(r) for r in rates[: len(smooth)]), tuple(smooth), float(rates[lowest]) / 10)

    def sheet(self, most: int) -> tuple[list[Array], list[str]]:
        s = self.s
        places = self.order(0)[: min(most, int(s.recipe.batch))]
        wish = Wish(0, 0, places, several=schedules.joins(s.recipe, 0), still=schedules.rests(s.recipe, 0))
        piece = drawn(self._train, s.recipe, wish)
        images, targets = augment.apply(piece["pixels"], self._soften(_tensors(piece["targets"])), piece["drawn"])
        pictures = np.clip(images.numpy() * 255, 0, 255).round().astype(np.uint8)
        return list(pictures), s.half.captions(targets, s.labels)

    def _named_of(self, pixels: Any) -> dict[str, Any]:
        raw = self.s.judged(tf.cast(pixels, tf.float32) / 255, training=False)
        return {k: tf.cast(v, tf.float32) for k, v in self.s.half.named(raw).items()}

    def look(self, weights: Mapping[str, Array], exact: bool) -> tuple[dict[str, Array], float]:
        """Always in float32, as the exported graph will be."""
        fill(self.s.judged, weights)
        return self._looked(np.arange(self.val))

    def _looked(self, places: Array) -> tuple[dict[str, Array], float]:
        s = self.s
        pieces: list[dict[str, Array]] = []
        loss, options = 0.0, {**s.options, "smoothing": 0.0}
        rows = min(128, max(8, int(s.recipe.batch)))
        for start in range(0, len(places), rows):
            part = places[start : start + rows]
            pixels, targets = self._val.take(part)
            named = self._named(pixels)
            soft = self._soften(_tensors(targets))
            loss += float(s.half.loss(named, soft, s.labels, options)) * len(part) / len(places)
            pieces.append(s.half.keep(named, targets, s.labels))
        return {k: np.concatenate([p[k] for p in pieces]) for k in pieces[0]}, loss

    def weights(self) -> dict[str, Array]:
        return arrays(self.s.network) if self.s.average is None else self.s.average.arrays()

    def state(self) -> tuple[dict[str, Mapping[str, Array]], dict[str, Any]]:
        s = self.s
        parts: dict[str, Mapping[str, Array]] = {"network": arrays(s.network), "optimizer": s.optimizer.state()}
        record = {}
        if s.average is not None:
            parts["average"] = s.average.arrays()
            record["average_steps"] = int(s.average.steps.numpy())
        return parts, record

    def fill(self, found: Checkpoint) -> None:
        s = self.s
        fill(s.network, found.part("network"))
        s.optimizer.fill(found.part("optimizer"))
        if s.average is not None:
            s.average.fill(found.part("average"), int(found.record["average_steps"]))
        self._flow = None

    def close(self) -> None:
        self._flow = None

    def rehearse(self) -> float:
        """The first batch traces the graphs, which happens once; the second one's time is what more of them take."""
        rows = np.arange(min(self.val, min(128, max(8, int(self.s.recipe.batch)))))
        start = time.monotonic()
        for _ in range(2):
            start = time.monotonic()
            kept, _ = self._looked(rows)
            targets = {k: v[rows] for k, v in self.val_targets.items()}
            self.s.half.watch(kept, targets, self.s.labels)
            self.s.task.calibrate(kept, targets, self.s.labels)
        return 2 * (time.monotonic() - start) * self.val / len(rows)


def _tensors(named: Mapping[str, Array]) -> dict[str, Any]:
    return {k: tf.convert_to_tensor(v) for k, v in named.items()}
