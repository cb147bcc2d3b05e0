"""Durable steps on disk behind one object, so that tests can make any of them fail."""

import ctypes
import errno
import os
import shutil
import tempfile
from pathlib import Path


class Files:
    """write, fsync, rename: after `replace` returns, the new content survives a power cut; before, the old one does."""

    def write(self, file: Path, data: bytes) -> None:
        """Writes and syncs a new file. Raises OSError."""
        with file.open("wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())

    def copy(self, file: Path, target: Path) -> None:
        """Copies the bytes of a file of any size into a new file and syncs it. Raises OSError."""
        with file.open("rb") as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
            out.flush()
            os.fsync(out.fileno())

    def rename(self, old: Path, new: Path) -> None:
        """Moves within one disk in one step and syncs the folder. Raises OSError."""
        old.replace(new)
        self.sync_folder(new.parent)

    def exchange(self, one: Path, other: Path) -> bool:
        """Swaps two folders in one step and syncs; False where the system or the disk cannot. Raises OSError.

        Linux's renameat2(2) with RENAME_EXCHANGE.
        """
        swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
        if swap is None:
            return False
        here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
        if swap(here, os.fsencode(one), here, os.fsencode(other), both) != 0:
            number = ctypes.get_errno()
            if number in (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP):
                return False
            raise OSError(number, os.strerror(number), str(other))
        self.sync_folder(other.parent)
        return True

    def replace(self, file: Path, data: bytes) -> None:
        """The old content or the new one, never half. Raises OSError; what was there stays."""
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        os.close(handle)
        draft = Path(name)
        try:
            self.write(draft, data)
            draft.chmod(0o644)
            self.rename(draft, file)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    def sync_folder(self, folder: Path) -> None:
        """Makes the names inside a folder durable."""
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
