"""Are manifests InferenceServices? Held to the schema that KServe and Kubernetes publish in their Python clients.

Every field must be one that the schema has, of the type it has there; what the schema demands must be there. Runs in
the environment of KServe (kserve_rest.txt). Prints a line for each fault, or that a file is valid.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILES, sys.argv = sys.argv[1:], sys.argv[:1]

import kserve.models  # noqa: E402
import kubernetes.client.models  # noqa: E402
import yaml  # noqa: E402

PLAIN = {"str": str, "int": int, "bool": bool, "float": (int, float), "ResourceQuantity": (str, int, float)}


def faults(kind: str, value: Any, where: str) -> Iterator[str]:
    many, named = re.fullmatch(r"[Ll]ist\[(.+)\]", kind), re.fullmatch(r"dict\(str, (.+)\)|Dict\[str, (.+)\]", kind)
    if many:
        if not isinstance(value, list):
            yield f"{where} is no {kind}"
            return
        for i, part in enumerate(value):
            yield from faults(many[1], part, f"{where}[{i}]")
    elif named:
        if not isinstance(value, dict):
            yield f"{where} is no {kind}"
            return
        for key, part in value.items():
            yield from faults(named[1] or named[2], part, f"{where}.{key}")
    elif kind in PLAIN:
        if not isinstance(value, PLAIN[kind]) or (kind != "bool" and isinstance(value, bool)):
            yield f"{where} is {value!r}, expected {kind}"
    elif kind != "object":
        yield from message(kind, value, where)


def message(kind: str, value: Any, where: str) -> Iterator[str]:
    made = getattr(kserve.models, kind, None) or getattr(kubernetes.client.models, kind)
    names = {theirs: ours for ours, theirs in made.attribute_map.items()}
    if not isinstance(value, dict):
        yield f"{where} is no {kind}"
        return
    for key, part in value.items():
        if key not in names:
            yield f"{where}.{key}: {kind} has no such field"
        else:
            yield from faults(made.openapi_types[names[key]], part, f"{where}.{key}")
    try:
        made(**{names[key]: part for key, part in value.items() if key in names})
    except ValueError as error:
        yield f"{where}: {str(error).splitlines()[0]}"


def main() -> int:
    good = True
    for file in FILES:
        record = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
        found = list(faults("V1beta1InferenceService", record, Path(file).name))
        print(*(found or [f"{Path(file).name} is valid"]), sep="\n")
        good = good and not found
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
