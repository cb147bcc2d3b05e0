"""Nothing of a test may reach the user's home or the network's settings."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Every test has a home folder of its own."""
    home = tmp_path_factory.mktemp("home")
    before = os.environ.get("SACCADE_HOME")
    os.environ["SACCADE_HOME"] = str(home)
    yield home
    if before is None:
        os.environ.pop("SACCADE_HOME", None)
    else:
        os.environ["SACCADE_HOME"] = before
