"""Decoders with published holes are told at the start (LIMITS B10)."""

import pytest

from saccade.images import floors


def test_the_decoders_that_are_installed_tell_their_versions_and_are_new_enough() -> None:
    assert all(version for _, version in floors.versions().values())
    assert floors.below() == []


@pytest.mark.parametrize(
    ("library", "version", "fault"),
    [
        ("Pillow", "12.2.9", True),
        ("Pillow", "12.3.0", False),
        ("libwebp", "1.3.1", True),
        ("libwebp", "1.3.2", False),
        ("libwebp", "1.10.0", False),
        ("libjpeg-turbo", "2.1.5.1", True),
        ("libjpeg-turbo", "3.0.0-90", False),
        ("libjpeg-turbo", "", True),
    ],
)
def test_the_floor_itself_is_new_enough(library: str, version: str, fault: bool) -> None:
    said = floors.below({"it": (library, version)})
    assert bool(said) is fault
    assert all(line.endswith(f"{floors.FLOORS[library]} or newer was expected") for line in said)
