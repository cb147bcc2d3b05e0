"""For KServe: an InferenceService and the container file of the server it runs, which is saccade with this package."""

import platform
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

import saccade
from saccade.errors import UsageError
from saccade.export import wheel
from saccade.export.exporter import Exporter, Wish, Written
from saccade.inference import remote, runtimes
from saccade.inference.remote import Remote
from saccade.package.manifest import FORMAT_VERSION
from saccade.package.reader import Package

HTTP, GRPC = 8080, 8081
QUANTITY = re.compile(r"[0-9]{1,9}(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")
"""An amount as Kubernetes writes it, of those that cores and bytes need."""
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9./:@_-]{0,254}")
CONTAINER = """\
# {name}, package {digest}
FROM python:{python}-slim
COPY {wheel} constraints.txt /opt/
RUN pip install --no-cache-dir -c /opt/constraints.txt "/opt/{wheel}[{extras}]" && useradd --uid 1000 --create-home saccade
COPY package /models/package
USER 1000
# The pod's neighbours reach every address of it; keys and TLS are the ingress's.
ENV SACCADE_HOST=0.0.0.0 SACCADE_PORT={http} SACCADE_GRPC_PORT={grpc} SACCADE_INSECURE=true SACCADE_LOG_FORMAT=json
EXPOSE {http} {grpc}
ENTRYPOINT ["saccade", "serve", "/models/package"]
"""


class _KServe(Exporter):
    name = "kserve"
    settings: Mapping[str, tuple[str, str]] = {
        "image": ("", "the container image, as the cluster pulls it; empty is NAME:VERSION"),
        "protocol": ("http", "what reaches the pod: http or grpc"),
        "min_replicas": ("1", "0 to 1000; 0 lets the service sleep"),
        "max_replicas": ("1", "1 to 1000"),
        "cpu": ("1", "cores that are asked for and allowed"),
        "memory": ("1Gi", "bytes that are asked for and allowed"),
    }

    def write(self, package: Package, folder: Path, wish: Wish) -> Written:
        record = service(package, wish)
        text = yaml.safe_dump(record, sort_keys=False, allow_unicode=True)
        (folder / "inference-service.yaml").write_text(text, "utf-8")
        runtime = package.manifest.graphs["default"].runtime
        extras = {"grpc", "server", runtimes.EXTRAS.get(runtime, "")} - {""}
        made = wheel.write(folder)
        (folder / "constraints.txt").write_text(wheel.pinned(extras), "utf-8")
        text = CONTAINER.format(
            name=package.manifest.name,
            digest=package.digest,
            python=".".join(platform.python_version_tuple()[:2]),  # the pins are those of this one
            wheel=made.name,
            extras=",".join(sorted(extras)),
            http=HTTP,
            grpc=GRPC,
        )
        (folder / "Dockerfile").write_text(text, "utf-8")
        shutil.copytree(package.path, folder / "package")
        image = record["spec"]["predictor"]["containers"][0]["image"]
        notes = [
            f"in this folder: docker build -t {image} . and push it, then kubectl apply -f inference-service.yaml",
            f"the service is {record['metadata']['name']!r}, the model in its addresses {package.manifest.name!r}",
            "the server in the pod asks for no key: who may call is decided by the ingress or the mesh",
        ]
        if runtime in remote.SCHEMES.values():
            address = Remote.read(package.graph_path()).address
            notes.append(f"another server runs the graph: {address} must be reachable from the pod")
        return Written(tuple(notes))


def service(package: Package, wish: Wish) -> dict[str, Any]:
    """serving.kserve.io/v1beta1. Raises UsageError for a setting outside its range."""
    given = wish.settings
    image = given["image"] or f"{wish.name.lower()}:{wish.version}"
    if not IMAGE.fullmatch(image):
        raise UsageError(f"image is a reference like registry/name:tag, got {image!r}")
    if given["protocol"] not in ("http", "grpc"):
        raise UsageError(f"protocol is http or grpc, got {given['protocol']!r}")
    for key in ("cpu", "memory"):
        if not QUANTITY.fullmatch(given[key]):
            raise UsageError(f"{key} is a quantity like 500m, 2 or 1Gi, got {given[key]!r}")
    least, most = _number(given, "min_replicas", 0), _number(given, "max_replicas", 1)
    if least > most:
        raise UsageError(f"min_replicas is at most max_replicas, got {least} and {most}")
    amount = {"cpu": given["cpu"], "memory": given["memory"]}
    # Knative tells what a port speaks by its name, and lets a container have one.
    port = {"http": ("http1", HTTP), "grpc": ("h2c", GRPC)}[given["protocol"]]
    container = {
        "name": "kserve-container",
        "image": image,
        "ports": [{"name": port[0], "containerPort": port[1], "protocol": "TCP"}],
        "readinessProbe": _probe("/readyz", 5, 12),
        "livenessProbe": _probe("/livez", 10, 3),
        "resources": {"requests": dict(amount), "limits": dict(amount)},
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1000,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": label(wish.name),
            "labels": {"app.kubernetes.io/name": "saccade", "app.kubernetes.io/version": saccade.__version__},
            "annotations": {
                "saccade/model": package.manifest.name,
                "saccade/package": package.digest,
                "saccade/package-format": str(FORMAT_VERSION),
            },
        },
        "spec": {
            "predictor": {"minReplicas": least, "maxReplicas": most, "timeout": 60, "containers": [container]},
        },
    }


def label(name: str) -> str:
    """A model's name as the name of a service: 1 to 63 small letters, digits and dashes, a letter first."""
    text = re.sub(r"[^a-z0-9-]+", "-", name.lower())
    text = text if text[:1].isalpha() else f"m-{text}"
    return text[:63].rstrip("-")


def _probe(path: str, period_s: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": HTTP},
        "periodSeconds": period_s,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _number(given: Mapping[str, str], key: str, low: int) -> int:
    text = given[key]
    if not text.isascii() or not text.isdigit() or not low <= int(text[:9]) <= 1000 or len(text) > 4:
        raise UsageError(f"{key} is {low} to 1000, got {text!r}")
    return int(text)


EXPORTER = _KServe()
