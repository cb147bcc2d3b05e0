"""The oldest decoders that may read the pictures of strangers: those below have published holes (B10)."""

import re
from collections.abc import Mapping

import cv2
import PIL
from PIL import features

FLOORS = {"Pillow": "12.3", "libwebp": "1.3.2", "libjpeg-turbo": "3"}
"""CVE-2026-25990 and CVE-2026-42311 (Pillow), CVE-2023-4863 (libwebp)."""


def versions() -> dict[str, tuple[str, str]]:
    """Of each decoder that reads pictures here its library, a key of FLOORS, and its version,
    empty when it is not told."""
    built = re.search(r"JPEG:\s+\S*turbo\S* \(ver ([\d.]+)", cv2.getBuildInformation())
    return {
        "Pillow": ("Pillow", PIL.__version__),
        "libwebp in Pillow": ("libwebp", features.version("webp") or ""),
        "libjpeg-turbo in Pillow": ("libjpeg-turbo", features.version("libjpeg_turbo") or ""),
        "libjpeg-turbo in OpenCV": ("libjpeg-turbo", built.group(1) if built else ""),
    }


def below(found: Mapping[str, tuple[str, str]] | None = None) -> list[str]:
    """A sentence for each decoder that is older than its floor, or does not tell its version.
    found: default `versions()`."""
    faults = []
    for where, (library, version) in (versions() if found is None else found).items():
        floor = FLOORS[library]
        if not version:
            faults.append(f"{where} does not tell its version, {floor} or newer was expected")
        elif _numbers(version) < _numbers(floor):
            faults.append(f"{where} is {version}, {floor} or newer was expected")
    return faults


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])
