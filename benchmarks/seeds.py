"""The frame of every figure of learning: seeds of two sides on the same data in the same time, their mean and spread.

A row is one seed of one side. Rows are kept in benchmarks/results with the commit that gave them, and those of the same
machine, versions and options stay: hours of training may be measured one seed and one side at a time (`--seeds`,
`--only`), and the table printed at the end is of all of them.
"""

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import machine
from saccade.data import formats, lock
from saccade.data.splits import split
from saccade.training.recipe import Recipe

OURS, PLAIN = "saccade", "plain loop"
Row = dict[str, Any]


def arguments(description: str, minutes: float, size: int = 0) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--size", type=int, default=size, help="input of the plain loop, px (0: what our recipe chose)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", choices=("ours", "plain"), help="measure one side (both by default)")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall",
                        help="what both sides have as much of: on a machine shared with others, processor seconds")  # fmt: skip
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave our runs in FOLDER, to look into")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a knob of our recipe")
    return parser


class Frame:
    """dataset: with its three splits. watched: the numbers of a row whose mean and spread are told."""

    def __init__(self, figure: str, task: str, options: argparse.Namespace, watched: Sequence[str]) -> None:
        self.dataset, _ = formats.read(options.data)
        if not {"train", "val", "test"} <= set(self.dataset.splits):
            self.dataset = split(self.dataset, 0)
        self.seconds = options.minutes * 60
        self._task, self._watched, self._options = task, watched, options
        self._data, self._keep = options.data.name, options.keep
        self._knobs = dict(pair.split("=", 1) for pair in options.set)
        if options.threads:
            self._knobs["threads"] = str(options.threads)
            torch.set_num_threads(options.threads)
        self._name = "_".join(
            [figure, self._data, *(f"{k}-{v.replace('/', '-')}" for k, v in sorted(self._knobs.items()))]
        )
        if options.keep and (there := [s for s in options.seeds if self._folder(options.keep, s).exists()]):
            raise SystemExit(f"{options.keep} holds runs of seeds {there} already: name another folder")
        self._asked = {
            "minutes": options.minutes,
            "clock": options.clock,
            "set": self._knobs,
            "data": lock.record(self.dataset)["digest"],
        }
        self._commit = machine.commit()
        self._rows: dict[str, dict[str, Row]] = {OURS: {}, PLAIN: {}} | self._kept()
        print(machine.describe())
        splits = ", ".join(f"{k} {len(v)}" for k, v in self.dataset.splits.items())
        print(
            f"{options.data.name}: {splits}; {torch.get_num_threads()} threads, {options.minutes:g} minutes a run",
            flush=True,
        )

    def recipe(self, seed: int) -> Recipe:
        return Recipe.load(None, {"task": self._task, "budget": self.seconds, "seed": seed, **self._knobs})

    def measure(self, ours: Callable[[Recipe, Path], Row], plain: Callable[[Recipe, Row], Row]) -> None:
        """Every seed of the sides that are asked for. ours is given the folder of its run, plain our row of that seed,
        which is empty when there is none."""
        sides: dict[str, Callable[[Recipe], Row]] = {
            OURS: lambda recipe: self._placed(ours, recipe),
            PLAIN: lambda recipe: plain(recipe, self._rows[OURS].get(str(recipe.seed), {})),
        }
        if self._options.only:
            del sides[PLAIN if self._options.only == "ours" else OURS]
        for seed in self._options.seeds:
            for side, run in sides.items():
                row = {**run(self.recipe(seed)), "commit": self._commit}
                self._rows[side][str(seed)] = row
                told = ", ".join(f"{k} {_short(v)}" for k, v in row.items() if k != "commit")
                print(f"seed {seed}: {side:<10} {told}", flush=True)
                machine.save(self._name, {**self._asked, "rows": self._rows})
        for side, rows in self._rows.items():
            for number in self._watched if rows else ():
                scores = [row[number] for row in rows.values()]
                spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
                of = ", ".join(sorted({str(row["commit"]) for row in rows.values()}))
                print(
                    f"{side:<11} {number:<9} {statistics.mean(scores):.4f}  spread {spread:.4f}  n {len(scores)}  at {of}"
                )

    def _placed(self, ours: Callable[[Recipe, Path], Row], recipe: Recipe) -> Row:
        with tempfile.TemporaryDirectory() as passing:
            return ours(recipe, self._folder(self._keep or Path(passing), recipe.seed))

    def _folder(self, root: Path, seed: int) -> Path:
        return root / f"{self._name}-{seed}"

    def _kept(self) -> dict[str, dict[str, Row]]:
        file = machine.results() / f"{self._name}.json"
        record = json.loads(file.read_text()) if file.is_file() else {}
        same = (
            _host(record.get("machine", [])) == _host(machine.describe().splitlines())
            and self._asked.items() <= record.items()
        )
        return dict(record["rows"]) if same else {}


def _host(described: list[str]) -> list[str]:
    """Processor, cores and versions; without the system's own, which a restart may change."""
    return [line.partition(", Linux")[0] for line in described]


def _short(value: Any) -> str:
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else "x".join(map(str, value))
        if isinstance(value, list)
        else str(value)
    )
