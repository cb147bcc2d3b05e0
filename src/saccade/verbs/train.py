"""From labelled pictures to a sealed package: train."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from saccade import tasks
from saccade.data import check as doctor
from saccade.data import lock
from saccade.data.dataset import Dataset
from saccade.data.fingerprint import content_hashes
from saccade.data.splits import split as make_splits
from saccade.errors import DataError, UsageError
from saccade.images import encode, fonts
from saccade.training import earlier, listeners, trainers
from saccade.training.listener import Listener
from saccade.training.recipe import Recipe
from saccade.training.run import Run
from saccade.training.trainer import Trainer
from saccade.types import names_text
from saccade.verbs.data import check, refuse_found, refuse_inside
from saccade.verbs.golden import check_name, name_of
from saccade.verbs.hear import Hear, silent
from saccade.verbs.seal import Trained, seal


def train(
    data: Path | str,
    *,
    task: str = "auto",
    out: Path | str | None = None,
    model: str | None = None,
    engine: str | None = None,
    recipe: Path | None = None,
    resume: Path | str | None = None,
    format: str | None = None,
    images: Path | None = None,
    log: Sequence[str] = (),
    listen: Hear = silent,
    **knobs: Any,
) -> Trained:
    """From labelled images to a sealed, evaluated package.

    knobs: any field of the recipe (budget="10m", epochs=30, size=160, ...). listen hears every event of the run; log
    names libraries that hear them too ("tensorboard", "mlflow"). resume continues the run folder it names with that
    folder's recipe. Raises DataError when the doctor finds an ERROR or the data are not those the run began with,
    UsageError when more than one task fits, a resumed run is asked to change or `model` is no name, TrainingError when
    the loss is lost.
    """
    check_name(model)
    name = model or name_of(data)
    kinds = [listeners.find(name) for name in log]
    wishes = {k: v for k, v in (("task", task), ("engine", engine)) if v not in (None, "auto")} | knobs
    plan = Recipe.load(recipe, wishes)
    folder = Path(out) if out else _free_run(name)
    if resume is None:
        refuse_inside(folder, Path(data), images)
    health = check(data, format=format, images=images)
    if resume is None:
        refuse_found(folder, health.dataset, images, copy=False)
    listen(health.summary())
    errors = [f for f in health.findings if f.severity == "ERROR"]
    if errors:
        raise DataError(
            "the data cannot be learnt from: " + "; ".join(f.told() for f in errors[:3]),
            hint=f"saccade check {data} shows all",
        )
    for finding in health.findings:
        # Which boxes are tiny is told by the trainer, which knows how large the network's input is.
        if finding.severity == "WARN" and finding.id != "tiny_box":
            listen(f"warning  {finding.sentence}")
    if resume is not None:
        if out is not None or recipe is not None:
            raise UsageError("a resumed run keeps its own folder and recipe", hint="leave out and recipe away")
        run = _continued(Path(resume), wishes)
        trainer = trainers.find(run.recipe.engine)
        dataset = make_splits(health.dataset, seed=run.recipe.seed)
        began = run.folder / "dataset.lock.json"
        if lock.record(dataset)["digest"] != lock.read(began)["digest"]:
            # It may have started from an earlier run, whose pictures kept their sides.
            dataset = make_splits(health.dataset, seed=run.recipe.seed, kept=lock.sides(began))
        lock.verify(dataset, began)
    else:
        plan = plan.replace_from({"task": _task(plan.task, health.dataset)})
        trainer = trainers.find(plan.engine)
        start = earlier.folder_of(plan)
        kept = lock.sides(start / "dataset.lock.json") if start is not None else {}
        dataset = make_splits(health.dataset, seed=plan.seed, kept=kept)
        _refuse_taught(dataset, kept, plan.weights)
        run = Run.create(folder, plan, dataset)
        run.write(run.samples / "annotations.png", encode.to_png(doctor.sheet(dataset)))
        if words := fonts.note(dataset.labels.names):
            listen(f"note     {words}")
    _fit(run, dataset, trainer, kinds, listen)
    return seal(run, dataset, trainer, name, listen)


def _refuse_taught(dataset: Dataset, kept: Mapping[str, str], start: str) -> None:
    """Raises DataError where splits that came with the data would measure on what taught the
    weights a run starts from."""
    held = [s for name in ("val", "test") for s in dataset.splits[name]]
    taught = [s.key for s, content in zip(held, content_hashes(held), strict=True) if kept.get(content) == "train"]
    if taught:
        raise DataError(
            f"{len(taught):,} pictures of val and test taught {start} ({names_text(taught, 3)}), so nothing measured on them "
            "would be true",
            hint="move them to train, or start from other weights",
        )


def _task(wish: str, dataset: Dataset) -> str:
    fits = tasks.fitting(dataset.fields)
    if wish != "auto":
        if wish not in fits:
            tasks.find(wish)
            raise DataError(f"the data lacks {', '.join(tasks.find(wish).needs)}, which {wish} learns from")
        return wish
    if len(fits) != 1:
        raise UsageError(f"{len(fits)} tasks fit this data: {', '.join(fits) or 'none'}", hint="choose with --task")
    return fits[0]


def _continued(folder: Path, wishes: Mapping[str, Any]) -> Run:
    """The run to continue. Raises UsageError when a wish is not what its recipe says."""
    run = Run.open(folder)
    wished = run.recipe.replace_from({k: v for k, v in wishes.items() if v != "auto"})
    for key in run.recipe.different(wished):
        raise UsageError(
            f"this run began with {key} = {getattr(run.recipe, key)}, and {getattr(wished, key)} was asked for",
            hint=f"leave {key} away to continue it, or start a new run",
        )
    return run


def _fit(run: Run, dataset: Dataset, trainer: Trainer, kinds: Sequence[type[Listener]], listen: Hear) -> None:
    """Learns while everybody listens; whoever stops it is told how to go on."""
    audience = listeners.Audience(run, kinds, listen)
    finished = False
    try:
        for event in trainer.fit(run, dataset):
            listen(event)
            audience.hear(event)
        finished = True
    except KeyboardInterrupt:
        listen(f"stopped  continue with --resume {run.folder}")
        raise
    finally:
        audience.close(finished)


def _free_run(name: str) -> Path:
    n = 1
    while (folder := Path("runs") / f"{name}-{n}").exists():
        n += 1
    return folder
