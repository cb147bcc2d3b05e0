"""Links in the data that lead out of them: they are followed, and a copy holds files where they were."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from saccade.data import folder
from saccade.data.check.finding import Finding, finding
from saccade.data.dataset import Dataset


def links(dataset: Dataset) -> list[Finding]:
    """Beside data that are one file anything may lie: of these only what is on the way to a picture is looked at."""
    home = dataset.origin if dataset.origin.is_dir() else dataset.origin.parent
    pictures = [s.image for s in dataset if isinstance(s.image, Path)]
    found: Iterable[Path] = ()
    if home != dataset.origin:
        found = _on_the_way(pictures, home)
    elif any(p.is_relative_to(home) for p in pictures):
        found = _below(home)
    real, left = home.resolve(), {i.path for i in dataset.ignored}
    told = [folder.name(p, home) for p in sorted(found) if _leads_out(p, real)]
    files, held = "{file is a link that leads|files are links that lead}", "{it points|they point}"
    sentence = f"{{n}} {files} out of the data; a copy holds what {held} to"
    return finding("link_outside", sentence, [key for key in told if key not in left])


def _leads_out(link: Path, real: Path) -> bool:
    """False for a link to nothing and for one in a circle, which are not followed."""
    try:
        return not link.resolve(strict=True).is_relative_to(real)
    except (OSError, RuntimeError):
        return False


def _below(place: Path) -> Iterator[Path]:
    """Links in a folder and in those below it, none of them followed."""
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if folder.is_hidden(entry.name):
                continue
            if entry.is_symlink():
                yield Path(entry.path)
            elif entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path))


def _on_the_way(pictures: Sequence[Path], home: Path) -> Iterator[Path]:
    """Links among pictures and the folders that hold them, below a folder."""
    holders = {p.parent for p in pictures}
    above = {place for holder in holders for place in (holder, *holder.parents)}
    yield from (p for p in {*pictures, *above} if p != home and p.is_relative_to(home) and p.is_symlink())
