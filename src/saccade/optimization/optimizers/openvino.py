"""OpenVINO: the graph in its own format at f32 and bf16, and at int8 by NNCF's post-training quantisation."""

import contextlib
import io
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from saccade.optimization.optimizer import Candidate, Distance, Optimizer, Unfit, attempt
from saccade.process import report_nothing
from saccade.types import Array

report_nothing()
import openvino  # noqa: E402

PRECISION = ["saccade", "precision"]
"""Where the runtime of the same name reads the precision it shall run at."""


class _OpenVino(Optimizer):
    name = "openvino"

    def candidates(
        self, graph: Path, images_NHWC: Array, folder: Path, distance: Distance
    ) -> Iterator[Candidate | Unfit]:
        yield attempt("openvino-f32", lambda: _saved(openvino.Core().read_model(graph), "f32", folder))
        if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            yield attempt("openvino-bf16", lambda: _saved(openvino.Core().read_model(graph), "bf16", folder))
        else:
            yield Unfit("openvino-bf16", "this CPU has no bf16 arithmetic")
        yield attempt("openvino-int8", lambda: _quantised(graph, images_NHWC, folder))


def _quantised(graph: Path, images_NHWC: Array, folder: Path) -> Candidate:
    model = openvino.Core().read_model(graph)
    with _quiet(), contextlib.redirect_stdout(io.StringIO()):
        import nncf  # opened late: it brings much, and asks the environment whether it may report home

        pictures = nncf.Dataset([image[None] for image in images_NHWC])
        quantised = nncf.quantize(model, pictures, subset_size=len(images_NHWC))
    made = {"preset": "performance", "calibration_images": len(images_NHWC), "nncf": str(nncf.__version__)}
    return _saved(quantised, "int8", folder, made)


def _saved(model: Any, precision: str, folder: Path, made: dict[str, Any] | None = None) -> Candidate:
    model.set_rt_info("bf16" if precision == "bf16" else "f32", PRECISION)
    file = folder / f"{precision}.xml"
    openvino.save_model(model, file, compress_to_fp16=False)
    files = (file, file.with_suffix(".bin"))
    return Candidate(f"openvino-{precision}", "openvino", file, files, {"precision": precision, **(made or {})})


@contextmanager
def _quiet() -> Iterator[None]:
    """NNCF counts its users over the network unless it believes that it is tested; and it logs."""
    before = os.environ.get("NNCF_CI")
    os.environ["NNCF_CI"] = "1"
    logger = logging.getLogger("nncf")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if before is None:
            os.environ.pop("NNCF_CI", None)
        else:
            os.environ["NNCF_CI"] = before


OPTIMIZER = _OpenVino()
