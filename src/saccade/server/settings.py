"""Every setting of the server: keyword, environment variable SACCADE_<NAME>, TOML file, default; the first wins."""

import functools
import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from saccade.errors import UsageError
from saccade.inference.options import ISOLATIONS

DECODE_ISOLATIONS = ("auto", *ISOLATIONS)


@dataclass(frozen=True)
class Settings:
    """Sizes in bytes, times in seconds (LIMITS A1 to A10, C5, C6, I2).

    admin_port: of a listener for /metrics and what loads and unloads models, which the other one then does not answer;
    0 leaves them together. admin_host: where it listens. strict: what is otherwise a warning at the start is a refusal.
    grpc_port: 0 for no gRPC listener. grpc_reflection: tell callers with a key which services and messages there are.
    hosts: names the Host header may hold besides loopback ones; empty beyond loopback allows any. insecure: listen
    beyond loopback without keys. drain_s: how long to serve on after SIGTERM before the listener closes; finish_s: how
    long accepted requests may take then. max_wait_s: refuse a picture that would wait longer. p99_s: the latency that
    99 of 100 single urgent pictures should keep: batches are kept small enough, and who would wait too long is
    refused. runners: batches that run at the same time on the device, graph_threads: of each, decode_threads: of all;
    None suits the machine. log_format: text, or json. isolation: none runs graphs in the server's process, process
    each version in `replicas` of its own, where a run that lasts longer than hang_s is ended. decode_isolation:
    process decodes in confined processes, where a picture that takes too long is ended with its decoder; auto does
    where strangers can connect. memory_guard: refuse requests while memory is short, several images first. processes:
    whole servers that share the port, each with its own copy of every model. protocols: dialects spoken beside the
    native API. oip_style: how the Open Inference Protocol says "not ready".
    """

    host: str = "127.0.0.1"
    port: int = 8000
    admin_host: str = "127.0.0.1"
    admin_port: int = 0
    grpc_port: int = 0
    grpc_reflection: bool = False
    protocols: tuple[str, ...] = ("open_inference", "tf_serving", "torchserve")
    oip_style: str = "kserve"
    home: Path = Path.home() / ".saccade"
    insecure: bool = False
    strict: bool = False
    hosts: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    head_s: float = 10.0
    body_s: float = 30.0
    body_grace_s: float = 5.0
    body_floor: int = 16 * 1024
    head_bytes: int = 16 * 1024
    head_fields: int = 64
    line_bytes: int = 8 * 1024
    body_bytes: int = 16 * 1024 * 1024
    deadline_s: float = 10.0
    deadline_cap_s: float = 60.0
    max_images: int = 64
    max_batch: int | None = None
    max_queue: int = 1024
    max_wait_s: float = 0.25
    p99_s: float | None = None
    decode_threads: int | None = None
    graph_threads: int | None = None
    runners: int | None = None
    variant: str | None = None
    device: str = "cpu"
    isolation: str = "none"
    decode_isolation: str = "auto"
    replicas: int = 1
    hang_s: float = 30.0
    poll_s: float = 0.5
    drain_s: float = 5.0
    finish_s: float = 30.0
    memory_guard: bool = True
    connections: int = 1024
    processes: int = 1
    log_format: str = "text"

    def __post_init__(self) -> None:
        ports = {"port": self.port, "grpc_port": self.grpc_port, "admin_port": self.admin_port}
        taken: dict[int, str] = {}
        for name, number in ports.items():
            if not 0 <= number <= 65535:
                raise UsageError(f"{name} is 0 to 65535, got {number}")
            if number and number in taken:
                raise UsageError(f"{taken[number]} and {name} are both {number}", hint="give each its own")
            taken[number] = name
        if not 1 <= self.processes <= 256:
            raise UsageError(f"processes is 1 to 256, got {self.processes}")
        if self.oip_style not in ("kserve", "triton"):
            raise UsageError(f"oip_style is kserve or triton, got {self.oip_style!r}")
        if self.log_format not in ("text", "json"):
            raise UsageError(f"log_format is text or json, got {self.log_format!r}")
        if self.isolation not in ISOLATIONS:
            raise UsageError(f"isolation is {' or '.join(ISOLATIONS)}, got {self.isolation!r}")
        if self.replicas > 1 and self.isolation != "process":
            raise UsageError(f"{self.replicas} replicas are processes", hint="set isolation to process")
        if self.decode_isolation not in DECODE_ISOLATIONS:
            raise UsageError(f"decode_isolation is {' or '.join(DECODE_ISOLATIONS)}, got {self.decode_isolation!r}")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("TLS needs both tls_cert and tls_key")
        for file in (self.tls_cert, self.tls_key):
            if file is not None and not file.is_file():
                raise UsageError(f"there is no file {file}", hint="tls_cert and tls_key name PEM files")
        if self.tls_key is not None and self.tls_key.stat().st_mode & 0o077:
            raise UsageError(f"{self.tls_key} can be read by others", hint=f"chmod 600 {self.tls_key}")

    @functools.cached_property
    def loopback(self) -> bool:
        """True when only this machine can connect. Asked with every request."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def for_admin(self) -> "Settings":
        """Of the operator's listener. Where only this machine can connect to it, it speaks without TLS."""
        found = replace(self, host=self.admin_host, port=self.admin_port, admin_port=0, grpc_port=0)
        return replace(found, tls_cert=None, tls_key=None) if found.loopback else found

    @classmethod
    def gather(
        cls, given: Mapping[str, Any], *, file: Path | None = None, environ: Mapping[str, str] = os.environ
    ) -> "Settings":
        """given: keywords, where None means not given. Raises UsageError for an unknown or unreadable setting."""
        known = {f.name: getattr(f.type, "__name__", str(f.type)) for f in fields(cls)}
        written: dict[str, Any] = {}
        if file is not None:
            try:
                written = tomllib.loads(file.read_text("utf-8"))
            except (OSError, ValueError) as error:
                raise UsageError(f"settings file {file} cannot be read: {error}") from error
        unknown = sorted((set(given) | set(written)) - set(known))
        if unknown:
            raise UsageError(f"unknown settings {unknown}", hint=f"known: {', '.join(known)}")
        values = {name: _read(name, kind, written[name]) for name, kind in known.items() if name in written}
        for name, kind in known.items():
            text = environ.get(f"SACCADE_{name.upper()}")
            if text:
                values[name] = _read(name, kind, text)
        values.update({name: _read(name, known[name], v) for name, v in given.items() if v is not None})
        return cls(**values)


def _read(name: str, kind: str, value: Any) -> Any:
    """A value as the setting's type, from text or TOML."""
    try:
        if kind.startswith("bool"):
            if isinstance(value, str):
                return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[value.lower()]
            return bool(value)
        if kind.startswith("int"):
            return int(value)
        if kind.startswith("float"):
            return float(value)
        if "Path" in kind:
            return Path(value).expanduser()
        if kind.startswith("tuple"):
            return tuple(value.split(",")) if isinstance(value, str) else tuple(value)
        return str(value)
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"setting {name} expects {kind}, got {value!r}") from None
