"""The matrix client x protocol x model: real third-party clients against a running server.

Each client lives in an environment of its own, made once from the requirements beside it (`--prepare` only makes them).
What must come is worked out in this process, by the in-process engine, and compared to 1e-6 by the client's side.
Prints a line for each client, protocol and model with the number of calls that passed, then every call that failed;
then the calls of tritonclient side by side with the real Triton (beside.py).

    python -m benchmarks.interop [CLIENT ...] [--prepare] [--alone] [--json FILE]
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import environment, machine
from benchmarks.interop import beside, stage, tritonserver

CLIENTS = ("triton", "tf_serving", "custom_vision", "kserve_rest")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.interop", description=__doc__)
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help=f"of {', '.join(CLIENTS)}; default all")
    parser.add_argument("--prepare", action="store_true", help="only make the environments of the clients")
    parser.add_argument("--alone", action="store_true", help="without the real Triton beside it")
    parser.add_argument("--json", type=Path, help="also write every call here")
    options = parser.parse_args()
    unknown = set(options.clients) - set(CLIENTS)
    if unknown:
        parser.error(f"there is no client {sorted(unknown)[0]}; there are {', '.join(CLIENTS)}")
    clients = options.clients or CLIENTS
    for client in clients:
        stage.prepared(client)
    if options.prepare:
        if "triton" in clients:
            environment.python_of(tritonserver.REQUIREMENTS)
        return 0
    print(machine.describe())
    calls: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name, package in stage.packages(Path(folder)).items():
            with stage.served(package, Path(folder) / "home") as server:
                case = stage.case(package, Path(folder) / f"{name}.npz")
                for client in clients:
                    found = stage.told(stage.prepared(client), client, server, name, case)
                    calls += [{"client": client, "model": name, **call} for call in found]
    print(f"\n{'client':22} {'protocol':12} {'model':14} passed")
    for key in dict.fromkeys((c["client"], c["protocol"], c["model"]) for c in calls):
        mine = [c for c in calls if (c["client"], c["protocol"], c["model"]) == key]
        passed = sum(bool(c["ok"]) for c in mine)
        print(f"{key[0]:22} {key[1]:12} {key[2]:14} {passed} of {len(mine)}{'' if passed == len(mine) else '  FAILED'}")
    failed = [c for c in calls if not c["ok"]]
    for call in failed:
        print(f"FAILED {call['client']} {call['protocol']} {call['model']}: {call['call']}: {call['said']}")
    if options.json:
        options.json.write_text(json.dumps(calls, indent=1) + "\n", encoding="utf-8")
    apart = beside.run(None) if "triton" in clients and not options.alone else 0
    return 1 if failed or not calls or apart else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{(error.stderr or b'').decode(errors='replace')[-2000:]}")
