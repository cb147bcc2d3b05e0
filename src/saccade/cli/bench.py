"""saccade bench: load on a package or an address; --tune measures how to run it here."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from saccade.bench.figures import Figures
from saccade.cli.progress import Progress
from saccade.cli.text import duration_s, table
from saccade.errors import UsageError
from saccade.verbs import bench as verbs
from saccade.verbs.hear import Hear, silent

LOADS = ("model", "protocol", "key", "concurrency", "seconds", "p99", "plot", "client")
"""Options of a load, which --tune does not make."""


def bench_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", metavar="TARGET", help="a package, name[@alias], or an http address")
    parser.add_argument("--image", type=Path, help="default: a golden picture of the package")
    parser.add_argument("--model", help="with http://HOST:PORT of saccade: name or name@alias")
    parser.add_argument(
        "--protocol", choices=verbs.PROTOCOLS, help="with an address and --model: what it speaks; default native"
    )
    parser.add_argument("--key", help="of an address; default $SACCADE_KEY")
    parser.add_argument("--variant", help="of a package; default: the fastest certified on this host")
    parser.add_argument("--concurrency", type=int, help="callers at once; default 16")
    parser.add_argument("--seconds", type=float, help="of each load; default 5")
    parser.add_argument(
        "--p99", metavar="TIME", type=duration_s, help="find the highest load that stays below, like 80ms"
    )
    parser.add_argument(
        "--tune", action="store_true", help="measure runners, threads and batch size, and keep the best"
    )
    parser.add_argument("--plot", metavar="FILE", type=Path, help="latency curves as SVG, a new file")
    parser.add_argument(
        "--client", choices=verbs.CLIENTS, help="who asks while callers wait for answers: our own loop (default) or wrk"
    )
    parser.add_argument("--home", type=Path)
    parser.add_argument("--json", action="store_true")


def bench(options: argparse.Namespace) -> int:
    listen = silent if options.json else Progress(sys.stdout).hear
    if options.tune:
        return _tune(options, listen)
    # What is in the environment was not said of this target: a package has no use for it, and no fault by it.
    key = os.environ.get("SACCADE_KEY") if options.key is None and verbs.is_address(options.target) else options.key
    own = {name: getattr(options, name) for name in ("protocol", "concurrency", "seconds", "client")}
    done = verbs.bench(
        options.target,
        image=options.image,
        model=options.model,
        key=key,
        variant=options.variant,
        p99_s=options.p99,
        plot=options.plot,
        home=options.home,
        listen=listen,
        **{name: value for name, value in own.items() if value is not None},
    )
    failed = any(f.errors for f in done.figures[:2])
    if options.json:
        print(json.dumps(asdict(done), indent=2))
        return int(failed)
    print(f"\n{done.host}; {done.what}\n")
    head = ["load", "images/s", "p50", "p95", "p99", "errors", "CPU ms an image"]
    # Few machines let one read it: an empty column would only ask why.
    powered = any(f.joules is not None for f in done.figures)
    print(table([*head, *(["J an image"] if powered else [])], [_row(f, powered) for f in done.figures]))
    if done.peak_mib is not None:
        print(f"\nmemory   {done.peak_mib:.0f} MiB at most")
    if done.sentence:
        print(f"capacity {done.sentence}")
    return int(failed)


def _tune(options: argparse.Namespace, listen: Hear) -> int:
    if given := [f"--{name}" for name in LOADS if getattr(options, name) is not None]:
        raise UsageError(
            f"--tune measures settings of a package, and does nothing with {', '.join(given)}", hint="leave that away"
        )
    tuned, file = verbs.tune(
        options.target, image=options.image, variant=options.variant, home=options.home, listen=listen
    )
    if options.json:
        print(json.dumps(asdict(tuned), indent=2))
        return 0
    print(f"\ntuned    {tuned.runners} runners of {tuned.threads} threads, batches up to {tuned.max_batch}")
    print(f"because  {tuned.reason}\nkept     {file}")
    return 0


def _row(found: Figures, powered: bool) -> tuple[str, ...]:
    times = [f"{t:.1f} ms" if t is not None else "" for t in (found.p50_ms, found.p95_ms, found.p99_ms)]
    cpu = f"{1e3 * found.cpu_s:.1f}" if found.cpu_s is not None else ""
    energy = (f"{found.joules:.3f}" if found.joules is not None else "",) if powered else ()
    return found.load, f"{found.per_s:.1f}", *times, str(found.errors), cpu, *energy
