"""saccade serve: packages, or the whole home, over HTTP."""

import argparse
from pathlib import Path

from saccade.cli.text import duration_s
from saccade.inference.options import ISOLATIONS
from saccade.server.serve import serve as run
from saccade.server.settings import DECODE_ISOLATIONS


def serve_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="folders, or name[@alias]; none serves the home")
    parser.add_argument("--home", type=Path, help="default: $SACCADE_HOME, else ~/.saccade")
    parser.add_argument("--host", help="default 127.0.0.1")
    parser.add_argument("--port", type=int, help="default 8000")
    parser.add_argument(
        "--admin-port", type=int, help="metrics and loading on a port of their own, on loopback; default 0"
    )
    parser.add_argument("--grpc-port", type=int, help="also speak gRPC, on this port; default 0: do not")
    parser.add_argument("--variant", help="which graph of the packages; default the fastest certified on this host")
    parser.add_argument("--device", help="where graphs run: cpu, or cuda with a runtime that has it; default cpu")
    parser.add_argument("--p99", metavar="TIME", type=duration_s, help="latency to stay below, like 80ms or 0.2s")
    parser.add_argument(
        "--decode-isolation",
        choices=DECODE_ISOLATIONS,
        help="where pictures are decoded: in the server's process, or confined ones",
    )
    parser.add_argument(
        "--isolation", choices=ISOLATIONS, help="where graphs run: in the server's process, or their own"
    )
    parser.add_argument(
        "--replicas", type=int, metavar="N", help="processes of each version, with --isolation process; default 1"
    )
    parser.add_argument("--processes", type=int, help="whole servers that share the port; default 1")
    parser.add_argument("--insecure", action="store_true", default=None, help="beyond loopback without keys")
    parser.add_argument("--strict", action="store_true", default=None, help="refuse what is otherwise warned of")
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--log-format", choices=("text", "json"), help="of standard error; default text")
    parser.add_argument("--settings", type=Path, help="a TOML file with any setting")


def serve(options: argparse.Namespace) -> int:
    return run(
        options.packages,
        settings_file=options.settings,
        home=options.home,
        host=options.host,
        port=options.port,
        admin_port=options.admin_port,
        grpc_port=options.grpc_port,
        variant=options.variant,
        device=options.device,
        p99_s=options.p99,
        isolation=options.isolation,
        decode_isolation=options.decode_isolation,
        replicas=options.replicas,
        processes=options.processes,
        insecure=options.insecure,
        strict=options.strict,
        tls_cert=options.tls_cert,
        tls_key=options.tls_key,
        log_format=options.log_format,
    )
