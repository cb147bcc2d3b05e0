"""The training loop in PyTorch, told top to bottom in `TorchTrainer.fit`.

All randomness of a step follows from the seed and the step's number, so a resumed run repeats the lost steps exactly.
"""

import contextlib
import copy
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from saccade import tasks
from saccade.data.dataset import Dataset
from saccade.errors import DataError, TrainingError, UsageError
from saccade.images.draw import contact_sheet
from saccade.images.encode import to_png
from saccade.process import TRAINING, cores, tune_memory
from saccade.tasks.task import Task
from saccade.training.choices import SMOKE_IMAGES, Facts, choose
from saccade.training.events import Chosen, Epoch, Event, Finished, Note, RateFound, Resumed, Started, Step
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainer import Graph, Trainer
from saccade.training.trainers.torch import checkpoints, export, networks, optimizers, schedules
from saccade.training.trainers.torch.augment import Augment, as_float
from saccade.training.trainers.torch.batches import Pack, mixed, order, pack, sizes
from saccade.training.trainers.torch.ema import Average
from saccade.training.trainers.torch.gradcam import gradcam
from saccade.types import Array, Labels, Sample, TensorSpec

PROBES = 16
SAY_EVERY_S = 0.1


@dataclass
class Session:
    """A run in memory: what moves while it trains. position: images of this epoch already used."""

    recipe: Recipe
    task: Task
    half: Any
    labels: Labels
    device: torch.device
    network: nn.Module
    eyes: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    options: dict[str, Any]
    micro: int
    rate: float
    share: float = 1.0
    step: int = 0
    epoch: int = 0
    position: int = 0
    elapsed: float = 0.0
    loss_sum: float = 0.0
    loss_steps: int = 0
    kept: float = -1.0
    ever: float = -1.0
    stale: int = 0
    watched: str = ""
    reserve: float = 0.0
    saved_at: float = field(default_factory=time.monotonic)

    MOVING = (
        "step",
        "epoch",
        "position",
        "elapsed",
        "loss_sum",
        "loss_steps",
        "kept",
        "ever",
        "stale",
        "watched",
        "rate",
        "micro",
    )


class TorchTrainer(Trainer):
    name = "torch"

    def fit(self, run: Run, dataset: Dataset) -> Iterator[Event]:
        """Learns; every event is logged before it is yielded. Raises TrainingError, DataError, StorageError."""
        for event in self._fit(run, dataset):
            run.log(event)
            yield event

    def _fit(self, run: Run, dataset: Dataset) -> Iterator[Event]:
        began = time.monotonic()
        train_samples, val_samples = _samples(dataset, run.recipe)
        task = tasks.find(_task_name(run.recipe, dataset))
        yield from _choose(run, dataset.labels, task, train_samples)
        recipe = run.recipe
        tune_memory(TRAINING)
        _set_threads(recipe)
        train = pack(train_samples, dataset.labels, task, run.preprocess, recipe)
        val = pack(val_samples, dataset.labels, task, run.preprocess, recipe)

        said: list[str] = []
        s = _open_session(recipe, dataset.labels, task, train, said)
        yield from (Note(text) for text in said)
        yield Started(recipe.network, networks.parameters(s.network), str(s.device), len(train), len(val))
        augment = Augment(recipe)
        if checkpoints.last(run).exists():
            _resume(run, s)
            began = time.monotonic() - s.elapsed
            yield Resumed(s.step, s.epoch)
        else:
            run.forget_after(0)
            _write_contact_sheet(run, s, train, augment)
            if recipe.rate == "find":
                found = _find_rate(s, train, augment)
                s.rate = found.rate
                yield found

        per_step = int(recipe.batch) * recipe.accumulate
        steps_an_epoch = max(1, len(train) // per_step)
        if recipe.smoke:
            steps_an_epoch = min(steps_an_epoch, 4)
        total = int(recipe.epochs) * steps_an_epoch
        every = _validate_every(recipe, len(train), len(val))
        reason, spoken, speed = "all epochs done", 0.0, 0.0
        ended = s.step >= total
        if recipe.patience and s.stale >= recipe.patience:
            ended, reason = True, f"no gain in {s.stale} validations"

        while not ended:
            turn = order(len(train), recipe.seed, s.epoch)
            s.network.train()
            while s.position < steps_an_epoch * per_step and not ended:
                s.elapsed = time.monotonic() - began
                progress = _progress(s, total)
                if progress >= 1:
                    ended, reason = True, "the budget is spent"
                    break
                rate = s.rate * schedules.factor(recipe, progress)
                optimizers.set_rate(s.optimizer, rate)
                s.share = schedules.size_share(recipe, progress)
                places = turn[s.position : s.position + per_step]
                start = time.monotonic()
                loss, words = _one_step(s, train, places, augment)
                yield from (Note(text) for text in words)
                if not np.isfinite(loss):
                    raise TrainingError(
                        f"the loss became {loss} at step {s.step} of epoch {s.epoch} (rate {rate:.2g})",
                        hint=f"lower the rate (--set rate={rate / 5:.2g}), keep clip above 0, or set precision=float32",
                    )
                s.step, s.position = s.step + 1, s.position + per_step
                s.loss_sum, s.loss_steps = s.loss_sum + loss, s.loss_steps + 1
                now = time.monotonic()
                speed = 0.9 * speed + 0.1 * len(places) / (now - start) if speed else len(places) / (now - start)
                if s.step == 1:
                    s.reserve = max(s.reserve, (now - start) * len(val) / len(places) * 0.5)
                if now - spoken >= SAY_EVERY_S:
                    spoken = now
                    eta = _eta(s, total, began, per_step, speed)
                    yield Step(s.step, s.epoch, _progress(s, total), loss, rate, speed, eta)
                if now - s.saved_at >= recipe.checkpoint_every and s.position < steps_an_epoch * per_step:
                    s.elapsed = now - began
                    _save(run, s)
            if not ended:
                s.epoch, s.position = s.epoch + 1, 0
                ended = s.step >= total
            if ended or s.epoch % every == 0:
                s.elapsed = time.monotonic() - began
                event = _validate(run, s, val, speed)
                yield event
                if recipe.patience and s.stale >= recipe.patience:
                    ended, reason = True, f"no gain in {s.stale} validations"
                s.elapsed = time.monotonic() - began
                if not ended:
                    _save(run, s)

        s.elapsed = time.monotonic() - began
        _save(run, s)
        calibration = _calibrate(run, s, val)
        epochs = s.epoch + (s.position > 0)
        yield Finished(s.step, epochs, time.monotonic() - began, s.watched, s.kept, reason, calibration)

    def export(self, run: Run, dataset: Dataset, to: Path) -> Graph:
        """Writes `model.onnx` (float32, whatever the training arithmetic was) with probes from the validation split."""
        sealed, task, record = _open_sealed(run)
        spec = run.preprocess
        samples = dataset.splits.get("val") or dataset.splits["train"]
        step = max(1, len(samples) // PROBES)
        probe = pack(samples[::step][:PROBES], sealed._labels, task, spec, run.recipe).images.numpy()
        given = TensorSpec("image", "uint8", (None, spec.height, spec.width, 3))
        outputs = task.outputs(sealed._labels)
        to.mkdir(parents=True, exist_ok=True)
        file = to / "model.onnx"
        notes = {"saccade.task": task.name, "saccade.ledger": sealed._labels.digest()}
        export.write(sealed, tuple(o.name for o in outputs), given, file, notes)
        info = {
            "network": run.recipe.network,
            "parameters": networks.parameters(sealed.network),
            "opset": export.OPSET,
            "exporter": f"torch {torch.__version__}, dynamo",
            "calibration": record["calibration"],
        }
        return Graph(file, (given,), outputs, {"image": probe}, export.run(sealed, probe), info)

    def outputs(self, run: Run, images_NHWC: Array) -> Mapping[str, Array]:
        return export.run(_open_sealed(run)[0], images_NHWC)

    def explain(self, run: Run, images_NHWC: Array, class_ids_N: Array) -> Array:
        """Grad-CAM of the best weights. Raises TrainingError when the network ends without a feature map."""
        sealed, task, _ = _open_sealed(run)
        half = torch_half(task)
        ids = torch.from_numpy(np.asarray(class_ids_N, np.int64))
        images = as_float(torch.from_numpy(images_NHWC.copy()))
        return gradcam(sealed.network, images, lambda raw, rows: half.evidence(half.named(raw), ids[rows]))


def torch_half(task: Task) -> Any:
    """The learning half beside a task: head, named, soft_targets, class_weights, loss, tail, watch, LOSSES."""
    return import_module(type(task).__module__.rpartition(".")[0] + ".torch")


def _task_name(recipe: Recipe, dataset: Dataset) -> str:
    if recipe.task != "auto":
        return recipe.task
    fitting = tasks.fitting(dataset.fields)
    if len(fitting) != 1:
        raise UsageError(
            f"{len(fitting)} tasks fit this dataset: {', '.join(fitting) or 'none'}", hint="name one with --task"
        )
    return fitting[0]


def _samples(dataset: Dataset, recipe: Recipe) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    train, val = dataset.splits.get("train", ()), dataset.splits.get("val", ())
    if not train or not val:
        have = ", ".join(f"{k} {len(v)}" for k, v in dataset.splits.items())
        raise DataError(
            f"training needs a train and a val split, got {have or 'no images'}", hint="split the dataset first"
        )
    if recipe.smoke:
        train, val = (part[:: max(1, len(part) // SMOKE_IMAGES)][:SMOKE_IMAGES] for part in (train, val))
    return train, val


def _choose(run: Run, labels: Labels, task: Task, samples: tuple[Sample, ...]) -> Iterator[Chosen]:
    """Fills in "auto" once; a resumed run finds its recipe complete."""
    half = torch_half(task)
    targets = {
        k: np.stack([t[k] for t in (task.encode(s, labels) for s in samples)]) for k in task.encode(samples[0], labels)
    }
    weights = half.class_weights(targets, labels)
    counts = tuple(int(c) for c in np.round(1e6 / np.maximum(weights, 1e-9)))
    widths, heights = sizes(samples)
    cuda = torch.cuda.is_available() and run.recipe.device != "cpu"
    facts = Facts(
        train=len(samples),
        classes=labels.names,
        counts=counts,
        exclusive=labels.exclusive,
        widths=widths,
        heights=heights,
        cores=cores(),
        device="cuda" if cuda else "cpu",
        bfloat16=torch.cuda.is_bf16_supported() if cuda else bool(torch.cpu._is_avx512_bf16_supported()),
        loss=half.LOSSES[labels.exclusive],
    )
    choices = choose(run.recipe, facts)
    if choices.chosen:
        run.keep_recipe(choices.recipe, choices.reasons)
    yield from choices.chosen


def _set_threads(recipe: Recipe) -> None:
    if torch.get_num_threads() != int(recipe.threads):
        torch.set_num_threads(int(recipe.threads))


def _build(recipe: Recipe, half: Any, labels: Labels, width: int, height: int, weights: str) -> tuple[nn.Module, str]:
    """The whole network and one line on where its weights come from."""
    torch.manual_seed(recipe.seed)
    if recipe.network in networks.OWN:
        body = networks.backbone(recipe, width, height)
        network = networks.Network(body, half.head(body.features, labels), recipe.dropout)
        if weights in ("none", "auto"):
            return (
                network,
                f"weights from scratch{' (this network has no pretrained ones)' if weights == 'auto' else ''}",
            )
        from saccade.training.trainers.torch.timm import load_file

        return network, "weights: " + load_file(network, Path(weights))
    from saccade.training.trainers.torch import timm

    body, features, mean, std, said = timm.backbone(recipe.network, weights, width, height)
    return networks.Network(body, half.head(features, labels), recipe.dropout, mean, std), f"weights {said}"


def _open_session(recipe: Recipe, labels: Labels, task: Task, train: Pack, said: list[str]) -> Session:
    half = torch_half(task)
    if recipe.device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is to be seen", hint="use --device cpu, or install a CUDA build of torch")
    device = torch.device(recipe.device)
    network, words = _build(recipe, half, labels, int(recipe.width), int(recipe.height), recipe.weights)
    said.append(words)
    network = network.to(device)
    if recipe.channels_last:
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    balanced = half.class_weights({k: v.numpy() for k, v in train.targets.items()}, labels)
    return Session(
        recipe=recipe,
        task=task,
        half=half,
        labels=labels,
        device=device,
        network=network,
        eyes=torch.compile(network) if recipe.compile else network,  # type: ignore[arg-type]
        optimizer=optimizers.make(recipe, network),
        average=Average(network, float(recipe.ema)) if float(recipe.ema) else None,
        options={
            "loss": recipe.loss,
            "smoothing": recipe.smoothing,
            "focal_gamma": recipe.focal_gamma,
            "class_weights": torch.from_numpy(balanced).to(device) if recipe.class_weights == "balanced" else None,
        },
        micro=min(int(recipe.batch), 256),
        rate=0.0 if recipe.rate == "find" else float(recipe.rate),
    )


def _one_step(s: Session, train: Pack, places: Tensor, augment: Augment) -> tuple[float, list[str]]:
    """Gradients of all images in pieces of `micro`, one move of the weights. Out of memory halves `micro`."""
    words: list[str] = []
    while True:
        try:
            s.optimizer.zero_grad(set_to_none=True)
            total = 0.0
            for number, piece in enumerate(places.split(s.micro)):
                share = len(piece) / len(places)
                loss = _loss(s, train, piece, augment, mixed(s.recipe.seed, s.step, number)) * share
                loss.backward()
                total += float(loss.detach())
            break
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error) or s.micro <= 1:
                raise
            s.optimizer.zero_grad(set_to_none=True)
            s.micro = max(1, s.micro // 2)
            words.append(f"out of memory: images now go through {s.micro} at a time, gradients are added up")
        if s.device.type == "cuda":
            torch.cuda.empty_cache()
    if not np.isfinite(total):
        return total, words
    if s.recipe.clip:
        nn.utils.clip_grad_norm_(s.network.parameters(), s.recipe.clip)
    s.optimizer.step()
    if s.average is not None:
        s.average.update(s.network)
    return total, words


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "can't allocate memory" in text


def _loss(s: Session, train: Pack, places: Tensor, augment: Augment, seed: int) -> Tensor:
    pixels, targets = train.take(places, s.device)
    targets = s.half.soft_targets(targets, s.labels)
    images = augment(pixels, seed, s.share)
    images, targets = augment.mix(images, targets, seed)
    if s.recipe.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    torch.manual_seed(seed)  # dropout
    with _arithmetic(s):
        raw = s.eyes(images)
    answer: Tensor = s.half.loss(s.half.named(raw), targets, s.labels, s.options)
    return answer


def _arithmetic(s: Session) -> contextlib.AbstractContextManager[Any]:
    if s.recipe.precision == "bfloat16":
        return torch.autocast(s.device.type, torch.bfloat16)
    return contextlib.nullcontext()


def _progress(s: Session, total: int) -> float:
    """Share of the schedule done: by the clock under a budget, else by steps."""
    if s.recipe.budget:
        return s.elapsed / max(0.1, s.recipe.budget - s.reserve)
    return s.step / total


def _eta(s: Session, total: int, began: float, per_step: int, speed: float) -> float:
    if s.recipe.budget:
        return max(0.0, s.recipe.budget - (time.monotonic() - began))
    return (total - s.step) * per_step / max(speed, 1e-9)


def _validate_every(recipe: Recipe, train: int, val: int) -> int:
    """Epochs between validations. From counts, not from a clock, so that a resumed run validates at the same steps."""
    cost = val / (3.0 * train)
    return max(1, int(np.ceil(cost / recipe.validation_share)))


def _look(s: Session, network: nn.Module, val: Pack, exact: bool) -> tuple[dict[str, Tensor], float]:
    """Raw outputs on a split and the mean loss. exact: in float32, as the exported graph will be."""
    network.eval()
    pieces: list[dict[str, Tensor]] = []
    loss = 0.0
    with torch.inference_mode():
        for places in torch.arange(len(val)).split(128):
            pixels, targets = val.take(places, s.device)
            images = as_float(pixels)
            with contextlib.nullcontext() if exact else _arithmetic(s):
                named = s.half.named(network(images))
            named = {k: v.float() for k, v in named.items()}
            options = {**s.options, "smoothing": 0.0}
            value = s.half.loss(named, s.half.soft_targets(targets, s.labels), s.labels, options)
            loss += float(value) * len(places) / len(val)
            pieces.append({k: v.cpu() for k, v in named.items()})
    return {k: torch.cat([p[k] for p in pieces]) for k in pieces[0]}, loss


def _steady(s: Session) -> nn.Module:
    """The network that is judged and kept: averaged weights when there are any."""
    if s.average is None:
        return s.network
    network = copy.deepcopy(s.network)
    network.load_state_dict(s.average.state)
    return network


def _validate(run: Run, s: Session, val: Pack, speed: float) -> Epoch:
    """Keeps these weights unless they are worse than the best ever by more than one standard error.

    On small validation splits the highest score is mostly luck, and later weights are better schooled.
    """
    start = time.monotonic()
    network = _steady(s)
    outputs, val_loss = _look(s, network, val, exact=False)
    arrays = {k: v.numpy() for k, v in outputs.items()}
    name, metric, error = s.half.watch(arrays, {k: v.numpy() for k, v in val.targets.items()}, s.labels)
    s.watched = name
    s.stale = 0 if metric > s.ever else s.stale + 1
    s.ever = max(s.ever, metric)
    kept = metric >= s.ever - error
    loss = s.loss_sum / max(1, s.loss_steps)
    s.loss_sum, s.loss_steps = 0.0, 0
    if kept:
        s.kept = metric
        _keep(run, s, network, {})
    s.reserve = max(s.reserve, 3.0 * (time.monotonic() - start))
    rate = float(s.optimizer.param_groups[0]["lr"])
    return Epoch(s.epoch, s.step, loss, val_loss, name, metric, kept, rate, speed, s.elapsed)


def _keep(run: Run, s: Session, network: nn.Module, calibration: Mapping[str, float]) -> None:
    record = {
        "task": s.task.name,
        "labels": s.labels.to_json(),
        "network": s.recipe.network,
        "step": s.step,
        "metric": s.kept,
        "calibration": dict(calibration),
    }
    checkpoints.write(run, checkpoints.best(run), {"network": network.state_dict()}, record)


def _save(run: Run, s: Session) -> None:
    parts: dict[str, Mapping[str, Tensor]] = {
        "network": s.network.state_dict(),
        "optimizer": checkpoints.optimizer_part(s.optimizer),
    }
    record: dict[str, Any] = {
        "moving": {k: getattr(s, k) for k in Session.MOVING},
        "labels": s.labels.digest(),
        "recipe": asdict(s.recipe),
    }
    if s.average is not None:
        parts["average"] = s.average.state
        record["average_steps"] = s.average.steps
    checkpoints.write(run, checkpoints.last(run), parts, record)
    s.saved_at = time.monotonic()


def _resume(run: Run, s: Session) -> None:
    found = checkpoints.read(checkpoints.last(run))
    if found.record["labels"] != s.labels.digest():
        raise TrainingError("the dataset's classes changed since this run began", hint="resume with the same data")
    changed = s.recipe.different(Recipe().replace_from(found.record["recipe"]))
    if changed:
        raise TrainingError(
            f"recipe.toml changed since this run began: {', '.join(changed)}",
            hint="put back what was there to continue this run, or start a new one",
        )
    s.network.load_state_dict(found.part("network"))
    checkpoints.fill_optimizer(s.optimizer, found.part("optimizer"))
    if s.average is not None:
        for name, value in found.part("average").items():
            s.average.state[name].copy_(value)
        s.average.steps = int(found.record["average_steps"])
    for name, value in found.record["moving"].items():
        setattr(s, name, value)
    run.forget_after(s.step)


def _calibrate(run: Run, s: Session, val: Pack) -> dict[str, float]:
    """Fits the tail's constants on the best weights in float32, and writes them beside these weights."""
    found = checkpoints.read(checkpoints.best(run))
    network = copy.deepcopy(s.network)
    network.load_state_dict(found.part("network"))
    outputs, _ = _look(s, network, val, exact=True)
    targets = {k: v.numpy() for k, v in val.targets.items()}
    calibration = dict(s.task.calibrate({k: v.numpy() for k, v in outputs.items()}, targets, s.labels))
    record = {**found.record, "calibration": calibration}
    record.pop("format")
    checkpoints.write(run, checkpoints.best(run), {"network": network.state_dict()}, record)
    return calibration


def _find_rate(s: Session, train: Pack, augment: Augment, steps: int = 60) -> RateFound:
    """The range test of arXiv:1506.01186: the rate rises from 1e-6 to 1; a tenth of the rate with the lowest loss."""
    weights = copy.deepcopy(s.network.state_dict())
    state = copy.deepcopy(s.optimizer.state_dict())
    rates = np.geomspace(1e-6, 1.0, steps)
    turn = order(len(train), s.recipe.seed, -1)
    smooth: list[float] = []
    average, s.average = s.average, None
    s.network.train()
    for number, rate in enumerate(rates):
        optimizers.set_rate(s.optimizer, float(rate))
        loss, _ = _one_step(s, train, turn.roll(-number * s.micro)[: s.micro], augment)
        if not np.isfinite(loss) or (smooth and loss > 4 * min(smooth)):
            break
        smooth.append(loss if not smooth else 0.8 * smooth[-1] + 0.2 * loss)
    s.network.load_state_dict(weights)
    s.optimizer.load_state_dict(state)
    s.average = average
    lowest = int(np.argmin(smooth)) if smooth else 0
    rate = float(rates[lowest]) / 10
    return RateFound(tuple(float(r) for r in rates[: len(smooth)]), tuple(smooth), rate)


def _write_contact_sheet(run: Run, s: Session, train: Pack, augment: Augment) -> None:
    """The first batch as the network will see it, so that wrong augmentation is seen before an hour is spent."""
    places = order(len(train), s.recipe.seed, 0)[: min(16, int(s.recipe.batch))]
    pixels, targets = train.take(places, s.device)
    seed = mixed(s.recipe.seed, 0, 0)
    soft = s.half.soft_targets(targets, s.labels)
    images, soft = augment.mix(augment(pixels, seed), soft, seed)
    pictures = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    captions = s.half.captions(soft, s.labels)
    sheet = contact_sheet(list(pictures), captions)
    run.write(run.samples / "first_batch.png", to_png(sheet))


def _open_sealed(run: Run) -> tuple[export.Sealed, Task, Mapping[str, Any]]:
    found = checkpoints.read(checkpoints.best(run))
    labels = Labels.from_json(found.record["labels"])
    task = tasks.find(found.record["task"])
    half = torch_half(task)
    spec = run.preprocess
    network, _ = _build(run.recipe, half, labels, spec.width, spec.height, "none")
    network.load_state_dict(found.part("network"))
    return export.Sealed(network, half, labels, found.record["calibration"]), task, found.record


trainer = TorchTrainer
