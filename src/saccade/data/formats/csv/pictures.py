"""The files that a table names."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from saccade.data import folder
from saccade.data.dataset import Fault
from saccade.data.formats.csv.table import Row, is_number
from saccade.data.pictures import leads_out
from saccade.errors import DataError
from saccade.types import names_text


@dataclass
class Lost:
    """Rows without their picture: the row's line and what is to be told of it."""

    missing: list[tuple[int, str]] = field(default_factory=list)
    twice: list[tuple[int, str]] = field(default_factory=list)


class Pictures:
    """Finds the files a table names: by path, by name without extension, by number without leading zeros.

    What leads out of the folder is a fault of its line, and never followed. wanted: the cells, aligned with the rows.
    """

    def __init__(self, base: Path, wanted: Sequence[str]) -> None:
        self.base = base
        self.wanted = wanted

    def find(self, file: Path, rows: Sequence[Row], notes: list[str], faults: list[Fault]) -> list[Path | None]:
        """Aligned with the rows, None for what leads out. Raises DataError naming the lines of what is
        missing or fits two files."""
        found, lost = self._look(file, rows, notes, faults)
        if lost.twice:
            told = names_text([f"line {line}: {text[:80]}" for line, text in lost.twice], 3)
            raise DataError(
                f"{file.name} names pictures that fit two files: {told}",
                hint="write the file names with their extension",
            )
        if lost.missing:
            raise self._absent(file, rows, found, lost)
        return found

    def find_some(self, file: Path, rows: Sequence[Row], notes: list[str], faults: list[Fault]) -> list[Path | None]:
        """Aligned with the rows, None for what has a fault of its line. Raises DataError when
        not one picture is there."""
        found, lost = self._look(file, rows, notes, faults)
        if lost.missing and not any(found):
            raise self._absent(file, rows, found, lost)
        for line, text in lost.missing:
            faults.append(Fault("missing_image", f"{file.name} line {line}", f"there is no picture {text[:80]!r}"))
        for line, text in lost.twice:
            faults.append(Fault("missing_image", f"{file.name} line {line}", text))
        return found

    def _look(
        self, file: Path, rows: Sequence[Row], notes: list[str], faults: list[Fault]
    ) -> tuple[list[Path | None], Lost]:
        stems: dict[str, list[Path]] | None = None
        numbers: dict[int, list[Path]] = defaultdict(list)
        found: list[Path | None] = []
        lost = Lost()
        filled = 0
        for row, text in zip(rows, self.wanted, strict=True):
            if leads_out(text):
                told = f"{text[:80]!r} leads out of the folder, which is not followed"
                faults.append(Fault("path_outside", f"{file.name} line {row.line}", told))
                found.append(None)
                continue
            path = self.base / text
            if text and _is_file(path):
                found.append(path)
                continue
            fits: list[Path] = []
            if text and not folder.is_image(text):
                if stems is None:
                    stems = self._stems(numbers)
                fits = stems.get(text, [])
                if not fits and is_number(text):
                    fits = numbers.get(int(text), [])
                    filled += len(fits) == 1
            found.append(fits[0] if len(fits) == 1 else None)
            if len(fits) > 1:
                lost.twice.append((row.line, f"{text} is {fits[0].name} or {fits[1].name}"))
            elif not fits:
                lost.missing.append((row.line, text or "(empty)"))
        if filled:
            notes.append(f"{filled} numbers were matched to file names with leading zeros")
        return found, lost

    def _stems(self, numbers: dict[int, list[Path]]) -> dict[str, list[Path]]:
        stems: dict[str, list[Path]] = defaultdict(list)
        for path in folder.walk(self.base, [], self.base):
            stems[path.stem].append(path)
            stems[path.relative_to(self.base).with_suffix("").as_posix()].append(path)
            if path.stem.isascii() and path.stem.isdigit():
                numbers[int(path.stem)].append(path)
        return {stem: list(dict.fromkeys(paths)) for stem, paths in stems.items()}

    def _absent(self, file: Path, rows: Sequence[Row], found: Sequence[Path | None], lost: Lost) -> DataError:
        told = names_text([f"line {line}: {text[:80]}" for line, text in lost.missing], 3)
        return DataError(
            f"{file.name} names {len(lost.missing)} of {len(rows)} pictures that are not there: {told}",
            hint=self._advice(lost.missing[0][1], any(found)),
        )

    def _advice(self, wanted: str, others: bool) -> str:
        """others: some pictures were found, so the folder is right."""
        name = Path(wanted).name
        place = next((p for p in folder.walk(self.base, [], self.base) if name in (p.name, p.stem)), None)
        if others:
            where = f"; one of that name is {place.relative_to(self.base)}" if place else ""
            return f"bring the files back, or take the lines out{where}"
        return f"try --images {place.parent}" if place else "give the folder of the pictures with --images"


def _is_file(path: Path) -> bool:
    """False as well for a text that can be no path: too long for the system, or with a zero byte."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def safe_tail(tail: str) -> str:
    """A key as a path below a folder: what leads out of it is cut away."""
    parts = [p for p in Path(tail).parts if p not in ("..", "/", ".")]
    return "/".join(parts) or "image"
