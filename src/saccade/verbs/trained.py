"""The splits that packages were trained on, told again from the data as they are now: what taught a
model must not test it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from saccade.data import lock
from saccade.data.dataset import Dataset
from saccade.data.fingerprint import content_hashes
from saccade.data.splits import split
from saccade.errors import UsageError
from saccade.package import reader
from saccade.types import Sample

OWN = "measure on data with its own train and test folders, of which the model has seen the first alone"


def as_trained(dataset: Dataset, folders: Sequence[Path], wanted: Sequence[str]) -> Dataset:
    """The dataset with the splits `wanted`, as the packages in these folders knew them.

    Splits that the data bring are taken as they are. Made ones are drawn again, which gives those of the training when
    the data are still the same. When they are not, pictures are told by their content from the lock of the run that a
    package lies in: of several packages those count that are on one side for all, and new pictures belong to none.
    Raises UsageError when nothing tells which pictures taught a model.
    """
    if set(wanted) <= set(dataset.splits):
        return dataset
    packages = [reader.open_package(folder).manifest.provenance for folder in folders]
    seeds = {int(p.get("seed", 0)) for p in packages}
    digests = {str(p["dataset"]) for p in packages if "dataset" in p}
    if len(seeds) == 1:
        made = split(dataset, seed=seeds.pop())
        if digests <= {lock.record(made)["digest"]}:
            return made
    files = [folder.parent / "dataset.lock.json" for folder in folders]
    if not all(file.is_file() for file in files):
        raise UsageError(
            f"the data have no split {wanted[0]!r} of their own and are not those the model was trained on, so nothing tells "
            "which pictures it has seen",
            hint=f"{OWN}, or name the run folder",
        )
    return _by_locks(dataset, [lock.read(file)["splits"] for file in files], wanted)


def _by_locks(
    dataset: Dataset, locked: Sequence[Mapping[str, Mapping[str, Mapping[str, object]]]], wanted: Sequence[str]
) -> Dataset:
    sides = [{entry["sha256"]: name for name, part in one.items() for entry in part.values()} for one in locked]
    samples = tuple(dataset)
    found: dict[str, list[Sample]] = {name: [] for name in wanted}
    new = 0
    for sample, content in zip(samples, content_hashes(samples), strict=True):
        told = {side.get(content) for side in sides}
        new += told == {None}
        name = told.pop() if len(told) == 1 else None
        if name in found:
            found[str(name)].append(sample)
    if empty := [name for name, part in found.items() if not part]:
        raise UsageError(f"no picture of the data was in {empty[0]} when every model was trained", hint=OWN)
    counts = ", ".join(f"{name} {len(part):,}" for name, part in found.items())
    note = f"the data changed since the training: {counts} as it was then, {new:,} new pictures are left out"
    return replace(dataset, splits={name: tuple(part) for name, part in found.items()}, notes=(*dataset.notes, note))
