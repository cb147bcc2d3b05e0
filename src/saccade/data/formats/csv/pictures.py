"""The files that a table names."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from saccade.data import folder
from saccade.data.formats.csv.table import Row
from saccade.errors import DataError
from saccade.types import names_text


class Pictures:
    """Finds the files a table names: by path, by name without extension, by number without leading zeros."""

    def __init__(self, base: Path, wanted: Sequence[str]) -> None:
        self.base = base
        self.wanted = wanted

    def find(self, file: Path, rows: Sequence[Row], notes: list[str]) -> list[Path]:
        """Aligned with the rows. Raises DataError naming the lines of what is missing or fits two files."""
        stems: dict[str, list[Path]] | None = None
        numbers: dict[int, list[Path]] = defaultdict(list)
        found: list[Path] = []
        missing: list[str] = []
        twice: list[str] = []
        filled = 0
        for row, text in zip(rows, self.wanted, strict=True):
            path = self.base / text
            if text and path.is_file():
                found.append(path)
                continue
            fits: list[Path] = []
            if text and not folder.is_image(text):
                if stems is None:
                    stems = self._stems(numbers)
                fits = stems.get(text, [])
                if not fits and text.isascii() and text.isdigit():
                    fits = numbers.get(int(text), [])
                    filled += len(fits) == 1
            if len(fits) == 1:
                found.append(fits[0])
            elif fits:
                twice.append(f"line {row.line}: {text} is {fits[0].name} or {fits[1].name}")
            else:
                missing.append(f"line {row.line}: {text or '(empty)'}")
        if twice:
            raise DataError(
                f"{file.name} names pictures that fit two files: {names_text(twice, 3)}",
                hint="write the file names with their extension",
            )
        if missing:
            raise DataError(
                f"{file.name} names {len(missing)} of {len(rows)} pictures that are not there: {names_text(missing, 3)}",
                hint=self._advice(missing[0].partition(": ")[2], bool(found)),
            )
        if filled:
            notes.append(f"{filled} numbers were matched to file names with leading zeros")
        return found

    def _stems(self, numbers: dict[int, list[Path]]) -> dict[str, list[Path]]:
        stems: dict[str, list[Path]] = defaultdict(list)
        for path in folder.walk(self.base, [], self.base):
            stems[path.stem].append(path)
            stems[path.relative_to(self.base).with_suffix("").as_posix()].append(path)
            if path.stem.isascii() and path.stem.isdigit():
                numbers[int(path.stem)].append(path)
        return {stem: list(dict.fromkeys(paths)) for stem, paths in stems.items()}

    def _advice(self, wanted: str, others: bool) -> str:
        """others: some pictures were found, so the folder is right."""
        name = Path(wanted).name
        place = next((p for p in folder.walk(self.base, [], self.base) if name in (p.name, p.stem)), None)
        if others:
            where = f"; one of that name is {place.relative_to(self.base)}" if place else ""
            return f"bring the files back, or take the lines out{where}"
        return f"try --images {place.parent}" if place else "give the folder of the pictures with --images"


def safe_tail(tail: str) -> str:
    """A key as a path below a folder: what leads out of it is cut away."""
    parts = [p for p in Path(tail).parts if p not in ("..", "/", ".")]
    return "/".join(parts) or "image"
