"""What the common loop asks of PyTorch."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from saccade.tasks.task import Task
from saccade.training import schedules
from saccade.training.checkpoints import Checkpoint, last
from saccade.training.events import RateFound
from saccade.training.learner import Learner
from saccade.training.packed import mixed
from saccade.training.run import Run
from saccade.training.trainers.torch import checkpoints, judge, networks, optimizers
from saccade.training.trainers.torch.augment import Augment
from saccade.training.trainers.torch.batches import order, pack
from saccade.training.trainers.torch.session import Session, open_session, set_threads
from saccade.training.trainers.torch.step import find_rate, one_step
from saccade.types import Array, Labels, Sample


class TorchLearner(Learner):
    s: Session

    def __init__(self, run: Run, labels: Labels, task: Task, train: Sequence[Sample], val: Sequence[Sample]) -> None:
        recipe = run.recipe
        set_threads(recipe)
        self._train = pack(train, labels, task, run.preprocess, recipe)
        self._val = pack(val, labels, task, run.preprocess, recipe)
        self.train, self.val = len(train), len(val)
        self.val_targets = {k: v.numpy() for k, v in self._val.targets.items()}
        self.said = []
        self.s = open_session(recipe, labels, task, self._train, self.said, begins=not last(run).exists())
        self._augment = Augment(recipe)

    @property
    def parameters(self) -> int:
        return networks.parameters(self.s.network)

    @property
    def device(self) -> str:
        return str(self.s.device)

    def order(self, epoch: int) -> Array:
        return order(self.train, self.s.recipe.seed, epoch).numpy()

    def step(self, places: Array) -> tuple[float, list[str]]:
        self.s.network.train()
        optimizers.set_rate(self.s.optimizer, self.s.now)
        return one_step(self.s, self._train, torch.from_numpy(places), self._augment)

    def find_rate(self) -> RateFound:
        return find_rate(self.s, self._train, self._augment)

    def sheet(self, most: int) -> tuple[list[Array], list[str]]:
        s = self.s
        places = torch.from_numpy(self.order(0)[: min(most, int(s.recipe.batch))])
        pixels, targets = self._train.take(places, s.device)
        seed = mixed(s.recipe.seed, 0, 0)
        soft = s.half.soft_targets(targets, s.labels)
        several, still = schedules.joins(s.recipe, 0), schedules.rests(s.recipe, 0)
        images, soft = self._augment(pixels, soft, seed, several=several, still=still)
        if not still:
            images, soft = self._augment.mix(images, soft, seed, several)
        pictures = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return list(pictures), s.half.captions(soft, s.labels)

    def look(self, weights: Mapping[str, Array], exact: bool) -> tuple[dict[str, Array], float]:
        network = judge.with_weights(self.s, checkpoints.to_tensors(weights))
        kept, loss = judge.look(self.s, network, self._val, exact)
        return {k: v.numpy() for k, v in kept.items()}, loss

    def weights(self) -> dict[str, Array]:
        return checkpoints.to_arrays(judge.steady(self.s))

    def state(self) -> tuple[dict[str, Mapping[str, Array]], dict[str, Any]]:
        s = self.s
        parts: dict[str, Mapping[str, Tensor]] = {
            "network": s.network.state_dict(),
            "optimizer": checkpoints.optimizer_part(s.optimizer),
        }
        record: dict[str, Any] = {}
        if s.average is not None:
            parts["average"] = s.average.state
            record["average_steps"] = s.average.steps
        return {k: checkpoints.to_arrays(v) for k, v in parts.items()}, record

    def fill(self, found: Checkpoint) -> None:
        s = self.s
        s.network.load_state_dict(checkpoints.to_tensors(found.part("network")))
        checkpoints.fill_optimizer(s.optimizer, checkpoints.to_tensors(found.part("optimizer")))
        if s.average is not None:
            for name, value in checkpoints.to_tensors(found.part("average")).items():
                s.average.state[name].copy_(value)
            s.average.steps = int(found.record["average_steps"])

    def rehearse(self) -> float:
        return judge.rehearse(self.s, self._val)
