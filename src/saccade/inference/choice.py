"""Which graph of a package answers here: the one that was named, else the fastest that was certified on this host."""

from dataclasses import dataclass, field
from importlib import metadata

from saccade import process
from saccade.errors import PackageError
from saccade.inference import runtimes
from saccade.package.manifest import GraphEntry
from saccade.package.reader import Package

DEFAULT = "default"


@dataclass(frozen=True)
class Choice:
    """variant: the graph that answers, and in words why. passed: the others that were thought of, and why not."""

    variant: str = DEFAULT
    reason: str = "the only graph of the package"
    passed: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return "; ".join([f"{self.variant}: {self.reason}", *(f"not {v}: {why}" for v, why in self.passed.items())])


def order(package: Package, wish: str | None = None, device: str = "cpu") -> list[Choice]:
    """What to try, best first; `default` stands last. A wish stands alone: it is that graph or an error.

    Raises PackageError for a wish that the package does not hold.
    """
    graphs = package.manifest.graphs
    if wish is not None:
        if wish not in graphs:
            raise PackageError(f"the package has no variant {wish!r}", hint=f"it has {', '.join(sorted(graphs))}")
        return [Choice(wish, "it was asked for")]
    here, fit, passed = process.host(), [], {}
    for name, graph in graphs.items():
        if name != DEFAULT:
            why = _unfit(graph, here, device)
            if why:
                passed[name] = why
            else:
                fit.append((name, graph))
    fit.sort(key=lambda pair: -(pair[1].certified.gain if pair[1].certified else 0))
    found = [Choice(name, _reason(graph), passed) for name, graph in fit]
    return [*found, Choice(reason="no faster variant fits", passed=passed) if len(graphs) > 1 else Choice()]


def installed(runtime: str) -> str:
    """The version of a runtime's library. It is read off what was installed: loading the library would cost a process
    that runs its graphs elsewhere the memory.

    Raises InferenceError(not_found) for a runtime that is unknown or not installed.
    """
    try:
        return metadata.version(runtime)
    except metadata.PackageNotFoundError:
        return runtimes.find(runtime).version()


def _unfit(graph: GraphEntry, here: str, device: str) -> str:
    known, runtime = graph.certified, graph.runtime
    if known is None:
        return "it was raced on no host: it is taken where it is asked for"
    if device != "cpu":
        return f"it was certified on a CPU, and {device} was asked for"
    if runtime not in runtimes.names():
        extra = runtimes.EXTRAS.get(runtime)
        return f"its runtime {runtime} is not installed" + (f"; pip install 'saccade[{extra}]'" if extra else "")
    if known.host != here:
        return f"it was certified on {known.host}, this is {here}; saccade optimize certifies it here"
    if known.runtime_version is not None and known.runtime_version != (version := installed(runtime)):
        return (
            f"it was certified on {runtime} {known.runtime_version}, here is {version}; "
            "saccade optimize certifies it here"
        )
    if known.gain < 1:
        return f"it is slower than the default graph: {known.gain:.2f} times as fast"
    return ""


def _reason(graph: GraphEntry) -> str:
    known = graph.certified
    return f"certified here, {known.gain:.2f} times as fast as the default graph" if known else ""
