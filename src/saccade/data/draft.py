"""A copy of the data is written beside its place and moved there at the end: half a dataset looks like a whole one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from saccade.data.folder import taken
from saccade.errors import StorageError
from saccade.storage.files import Files


@contextmanager
def drafted(out: Path) -> Iterator[Path]:
    """A new place to write to, which becomes `out` when the block ends, and is dropped when anything stops the block.

    It bears the name of `out`, whose ending may say what is written. Raises StorageError when `out` is there, or when
    the disk refuses.
    """
    try:
        if out.exists() or out.is_symlink():
            raise taken(out)
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{out.name[:40]}.", dir=out.parent, ignore_cleanup_errors=True
        ) as beside:
            place = Path(beside, out.name)
            yield place
            Files().rename(place, out)
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        raise StorageError.of(
            error,
            f"{out} was not written{about}",
            room="free some disk space and try again",
            hint="check the path and who may read and write there",
        ) from error
