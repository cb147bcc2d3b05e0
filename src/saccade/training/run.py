"""A run folder: `recipe.toml events.jsonl metrics.csv dataset.lock.json checkpoints/ samples/`."""

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from saccade.data import lock
from saccade.data.dataset import Dataset
from saccade.errors import StorageError, TrainingError, UsageError
from saccade.images.preprocess import PreprocessSpec
from saccade.storage.files import Files
from saccade.training.events import Epoch, Event, from_json
from saccade.training.recipe import Recipe

COLUMNS = ("epoch", "step", "loss", "val_loss", "metric", "rate")


@dataclass
class Run:
    """One training, kept in a folder. recipe: as it stands now; "auto" knobs are filled in when the fit begins.

    files: durable steps on disk; tests replace it.
    """

    folder: Path
    recipe: Recipe
    files: Files = field(default_factory=Files)

    @classmethod
    def create(cls, folder: Path, recipe: Recipe, dataset: Dataset, files: Files | None = None) -> "Run":
        """Makes the folder and writes recipe and lock. Raises UsageError when a run is already there."""
        if (folder / "recipe.toml").exists():
            raise UsageError(
                f"{folder} already holds a run", hint=f"continue it with --resume {folder}, or name another --out"
            )
        run = cls(folder, recipe, files or Files())
        try:
            for part in (folder, run.checkpoints, run.samples):
                part.mkdir(parents=True, exist_ok=True)
            lock.write(dataset, folder / "dataset.lock.json")
        except OSError as error:
            cure = "name another place with --out"
            raise StorageError.of(
                error, f"{folder} cannot hold a run", room=f"free some space, or {cure}", hint=cure
            ) from error
        run.keep_recipe(recipe, {})  # last: a folder with a recipe is a run that can be continued
        return run

    @classmethod
    def open(cls, folder: Path, files: Files | None = None) -> "Run":
        """Raises UsageError when the folder holds no run."""
        if not (folder / "recipe.toml").is_file():
            raise UsageError(f"{folder} holds no run (no recipe.toml)", hint="name the folder a training wrote")
        run = cls(folder, Recipe.load(folder / "recipe.toml"), files or Files())
        run._end_line()
        return run

    def _end_line(self) -> None:
        """Ends a last line of `events.jsonl` that a crash cut short, so that the next event has a line of its own."""
        file = self.folder / "events.jsonl"
        if file.exists() and file.read_bytes()[-1:] not in (b"", b"\n"):
            with file.open("ab") as end:
                end.write(b"\n")

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def samples(self) -> Path:
        return self.folder / "samples"

    @property
    def preprocess(self) -> PreprocessSpec:
        """How pictures meet this run's network. Raises TrainingError before the size is chosen."""
        width, height = self.recipe.width, self.recipe.height
        if isinstance(width, str) or isinstance(height, str):
            raise TrainingError("the input size is not chosen yet", hint="fit the run first")
        return PreprocessSpec(width=width, height=height, mode=self.recipe.resize)  # type: ignore[arg-type]

    def keep_recipe(self, recipe: Recipe, reasons: Mapping[str, str]) -> None:
        self.recipe = recipe
        self.write(self.folder / "recipe.toml", recipe.to_toml(reasons).encode())

    def write(self, file: Path, data: bytes) -> None:
        """Replaces a file in one step: the old one or the new one, never half. Raises StorageError."""
        try:
            self.files.replace(file, data)
        except OSError as error:
            raise StorageError.of(
                error,
                f"{file.name} could not be written",
                room="free some space on the disk of the run folder, then continue with --resume",
                hint="make the run folder writable, then continue with --resume",
            ) from error

    def log(self, event: Event) -> None:
        """Adds one line to `events.jsonl`, and a row to `metrics.csv` after a validation. Raises StorageError."""
        try:
            with (self.folder / "events.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(event.to_json(), ensure_ascii=False) + "\n")
            if isinstance(event, Epoch):
                self._add_row(event)
        except OSError as error:
            raise StorageError.of(error, "the log could not be written", room="free some disk space") from error

    def _add_row(self, event: Epoch) -> None:
        table = self.folder / "metrics.csv"
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not table.exists() or not table.stat().st_size:
            writer.writerow([*COLUMNS, "metric_name"])
        writer.writerow([*(repr(getattr(event, c)) for c in COLUMNS), event.metric_name])
        with table.open("a", encoding="utf-8") as file:
            file.write(text.getvalue())

    def forget_after(self, step: int) -> None:
        """Drops rows of `metrics.csv` later than `step`: they will be walked again after a resume."""
        table = self.folder / "metrics.csv"
        if not table.exists():
            return
        head = ",".join([*COLUMNS, "metric_name"])
        rows = table.read_text(encoding="utf-8").splitlines()[1:]
        column = COLUMNS.index("step")
        whole = [r for r in rows if r.count(",") == head.count(",") and int(r.split(",")[column]) <= step]
        self.write(table, ("\n".join([head, *whole]) + "\n").encode())

    def events(self) -> Iterator[Event]:
        """What was said so far. A last line cut short by a crash is left out."""
        file = self.folder / "events.jsonl"
        if not file.exists():
            return
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                yield from_json(json.loads(line))
            except (json.JSONDecodeError, KeyError):
                continue
