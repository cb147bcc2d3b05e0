"""What networks of Hugging Face transformers share: sizes by name, and weights from a file of a snapshot.

Nothing is fetched: a network starts from scratch or from a safetensors file, for instance the model.safetensors of a
snapshot; of its tensors those are taken that fit, so classes may differ.
"""

import difflib
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from saccade.errors import UsageError
from saccade.tasks.torch import open_library, read_file

PREFIX = "hf-"
Size = TypeVar("Size")


def size_of(name: str, sizes: Mapping[str, Size], kind: str) -> Size:
    """The entry of `sizes` for hf-NAME. kind: what such networks are called. Raises UsageError with a suggestion."""
    known = name.removeprefix(PREFIX)
    if known not in sizes:
        near = difflib.get_close_matches(known, sizes, n=1)
        names = ", ".join(PREFIX + n for n in sizes)
        raise UsageError(
            f"no {kind} network of transformers is called {name!r}",
            hint=f"did you mean {PREFIX}{near[0]}?" if near else f"networks are {names}",
        )
    return sizes[known]


def opened(kind: Any, config: Any, weights: str, wrap: Callable[[nn.Module], nn.Module]) -> tuple[nn.Module, str]:
    """A network of the library in our wrapper, whose `network` it is, and a line on its weights.

    kind: the library's class. weights: "auto" and "none" start from scratch, else a safetensors file of a snapshot,
    whose older names the library itself translates. Raises UsageError for a file that does not fit.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if weights in ("auto", "none"):
            return wrap(kind(config)), "from scratch" + (
                "" if weights == "none" else ": pretrained ones are not fetched"
            )
        file = Path(weights)
        state = read_file(file)
        level = library_logging().get_verbosity()
        library_logging().set_verbosity_error()
        try:
            found, told = kind.from_pretrained(
                None, config=config, state_dict=state, ignore_mismatched_sizes=True, output_loading_info=True
            )
        finally:
            library_logging().set_verbosity(level)
    left = sorted({*told["missing_keys"], *(name for name, *_ in told["mismatched_keys"])})
    total = len(dict(found.named_parameters()))
    if len(left) >= total:
        raise UsageError(f"no tensor of {file.name} fits this network", hint="use weights of the same network")
    said = f"{file.name}" + (f", all but {len(left)} tensors ({_few(left)})" if left else "")
    return wrap(found.float().train()), said


def library_logging() -> Any:
    return open_library("transformers.utils.logging", "transformers")


def _few(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (" and others" if len(names) > most else "")
