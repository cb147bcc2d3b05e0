"""How fast a package is behind our server, and how it is best run here: bench and tune."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from saccade import process
from saccade.bench import curves, energy, open_inference, wrk
from saccade.bench.figures import Figures, cpu_s, figures, peak_mib
from saccade.bench.load import Load, Target, closed, kind_of, poisson, read_image
from saccade.bench.served import served
from saccade.bench.tune import tune as measure_settings
from saccade.errors import StorageError, UsageError
from saccade.inference import tuning
from saccade.inference.tuning import Tuned
from saccade.package import reader
from saccade.registry.registry import home_folder
from saccade.storage.files import Files
from saccade.verbs.hear import Hear, silent
from saccade.verbs.home import package_folder

PROTOCOLS = ("native", "open_inference")
CLIENTS = ("own", "wrk")
CALLERS, SECONDS = 10_000, 3600.0
"""At most: callers at once, which take a port of this machine each, and the length of one load."""
SHARES, HALVED = (0.95, 0.85, 0.75, 0.6, 0.45, 0.3), 2
"""Of the highest rate, asked at random moments; and how often what lies between one that holds and the one above it,
which does not, is halved."""


@dataclass(frozen=True)
class Benched:
    """what: which graph answered which picture. figures: of one caller, of many, then of random arrivals.

    capacity_per_s: the highest random load tried whose p99 stayed below what was asked, None
    when not asked or none did.
    """

    host: str
    what: str
    figures: tuple[Figures, ...]
    peak_mib: float | None = None
    capacity_per_s: float | None = None
    sentence: str = ""


def bench(
    target: Path | str,
    *,
    image: Path | None = None,
    model: str | None = None,
    protocol: str = "native",
    key: str | None = None,
    variant: str | None = None,
    concurrency: int = 16,
    seconds: float = 5.0,
    p99_s: float | None = None,
    plot: Path | None = None,
    client: str = "own",
    home: Path | None = None,
    listen: Hear = silent,
) -> Benched:
    """Loads a package behind our own server, or an http address. model, key: of an address; protocol: with an address
    and a model, native (our image API) or open_inference (any server of that protocol). variant: of a package.
    concurrency: 1 to CALLERS. seconds: of each load, SECONDS at most. plot: a new SVG file of the latencies. client: wrk
    has that program ask where callers wait for their answers; who comes at random moments always comes from here.

    Raises UsageError, StorageError where that file is there, ServerError(unreachable).
    """
    if not 1 <= concurrency <= CALLERS or not 0 < seconds <= SECONDS:
        raise UsageError(
            f"concurrency is 1 to {CALLERS:,} and seconds above 0 to {SECONDS:,g}, got {concurrency} and {seconds:g}"
        )
    if client not in CLIENTS:
        raise UsageError(f"client is {' or '.join(CLIENTS)}, got {client!r}")
    if client == "wrk":
        wrk.program()
    if is_address(target) and variant is not None:
        raise UsageError(
            f"--variant chooses a graph of a package, and {target} is an address, whose server has chosen",
            hint="leave it away, or load the package",
        )
    if not is_address(target) and (model is not None or key is not None):
        raise UsageError(
            f"--model and --key go with an http address, and {target} is a package, served here for this load alone",
            hint="leave them away, or give the address of a server",
        )
    if plot is not None and plot.exists():
        raise StorageError(
            f"{plot} is already there, and nothing is overwritten", hint="name a new file", code="already_exists"
        )
    if plot is not None and not plot.absolute().parent.is_dir():
        raise StorageError(f"there is no folder {plot.parent} for {plot.name}", hint="make it", code="not_found")
    if is_address(target):
        aim, what = _address(str(target).rstrip("/"), image, model, protocol, key)
        done = _loaded(aim, None, what, concurrency, seconds, p99_s, client, listen)
    elif protocol != "native":
        raise UsageError("a package is asked through our image API", hint="serve it, and give its address")
    else:
        folder = package_folder(target, home)
        sent = read_image(image) if image else _golden(folder)
        with served(folder, home_folder(home), variant) as server:
            name = reader.open_package(folder).manifest.name
            listen(f"serving  {folder}, graph {server.variant(name)}")
            aim = Target.at(f"{server.url}/api/v1/models/{name}/predict", sent, kind_of(sent))
            what = f"{name}, graph {server.variant(name)}, a picture of {len(sent):,} bytes"
            done = _loaded(aim, server.pid, what, concurrency, seconds, p99_s, client, listen)
    if plot is not None:
        try:
            Files().replace(plot, curves.draw(done.what, done.host, done.figures).encode())
        except OSError as error:
            raise StorageError.of(error, f"{plot} could not be written", room="free some space there") from error
    return done


def is_address(target: Path | str) -> bool:
    """Whether a server is meant, not a package."""
    return str(target).startswith(("http://", "https://"))


def _address(base: str, image: Path | None, model: str | None, protocol: str, key: str | None) -> tuple[Target, str]:
    """What is sent where, and in words."""
    if image is None:
        raise UsageError("an address needs --image FILE, the picture that is sent")
    sent = read_image(image)
    if protocol == "open_inference":
        if model is None:
            raise UsageError("the Open Inference Protocol asks a model by its name", hint="give --model NAME")
        return open_inference.target(base, model, sent, key), f"{base}/v2/models/{model} with {image}"
    if protocol != "native":
        raise UsageError(f"protocol is {' or '.join(PROTOCOLS)}, got {protocol!r}")
    url = f"{base}/api/v1/models/{model}/predict" if model else base
    return Target.at(url, sent, kind_of(sent), key), f"{url} with {image}"


def _loaded(
    aim: Target,
    pid: int | None,
    what: str,
    concurrency: int,
    seconds: float,
    p99_s: float | None,
    client: str,
    listen: Hear,
) -> Benched:
    loop = wrk.closed if client == "wrk" else closed

    def measured(run: Callable[[], Load]) -> Figures:
        before, power = (cpu_s(pid), energy.counters()) if pid else (None, {})
        done = run()
        after, joules = (cpu_s(pid), energy.spent_j(power, energy.counters())) if pid else (None, None)
        found = figures(done, after - before if after is not None and before is not None else None, joules)
        listen(f"load     {found.load}: {found.per_s:.1f} images/s, {found.errors} errors")
        return found

    loop(aim, concurrency, min(1.0, seconds))
    found = [measured(partial(loop, aim, n, seconds)) for n in (1, concurrency)]
    peak = max(f.per_s for f in found)
    best = None

    def holds(share: float) -> bool:
        nonlocal best
        found.append(measured(partial(poisson, aim, share * peak, seconds)))
        p99 = found[-1].p99_ms
        held = p99_s is not None and p99 is not None and p99 <= 1e3 * p99_s and not found[-1].errors
        best = found[-1].per_s if held else best
        return held

    if peak and p99_s is None:
        holds(0.7)
    elif peak:
        _search(holds)
    sentence = ""
    if p99_s is not None:
        limit = f"{1e3 * p99_s:g} ms"
        sentence = f"this machine: {best:.0f} images/s at p99 <= {limit}" if best else f"no load kept p99 below {limit}"
    return Benched(process.host(), what, tuple(found), peak_mib(pid) if pid else None, best, sentence)


def _search(holds: Callable[[float], bool]) -> None:
    """Asks about shares of the peak, from the top down to one that holds, then between it and the one above."""
    above: float | None = None
    for share in SHARES:
        if holds(share):
            break
        above = share
    else:
        return
    if above is None:
        return
    for _ in range(HALVED):
        middle = (share + above) / 2
        if holds(middle):
            share = middle
        else:
            above = middle


def tune(
    package: Path | str,
    *,
    image: Path | None = None,
    variant: str | None = None,
    home: Path | None = None,
    listen: Hear = silent,
) -> tuple[Tuned, Path]:
    """Measures how to run a package here, and keeps it in the home for its servers: what was found, and the file."""
    if is_address(package):
        raise UsageError("only a package can be tuned", hint="run it on the host that serves")
    folder = package_folder(package, home)
    found = measure_settings(folder, read_image(image) if image else _golden(folder), variant, listen=listen)
    return found, tuning.write(home_folder(home) / "tuning", found)


def _golden(folder: Path) -> bytes:
    golden = reader.open_package(folder).golden()
    if not golden:
        raise UsageError("the package has no golden picture to send", hint="give --image FILE")
    return golden[0].image_bytes
