"""Keys of the servers that run graphs: each goes to its own address and to no other, whatever a package names."""

import os
import re
from collections.abc import Mapping

from saccade.errors import UsageError
from saccade.inference.remote import ADDRESS, Remote

SETTING = "SACCADE_REMOTE_KEY"
"""Environment variable: HOST:PORT=KEY, comma separated."""
KEY = re.compile(r"[!-+\--~]+")
"""What a header carries, without blanks and the comma."""


def keys(text: str) -> dict[str, str]:
    """Addresses to keys. Raises UsageError, which shows nothing of the text."""
    found = {}
    for part in text.split(","):
        if not part.strip():
            continue
        address, _, key = part.strip().partition("=")
        if not ADDRESS.fullmatch(address) or not KEY.fullmatch(key):
            raise UsageError(f"{SETTING} holds something else than addresses with keys", hint="HOST:PORT=KEY,...")
        found[address] = key
    return found


def key_of(where: Remote, environ: Mapping[str, str] = os.environ) -> str | None:
    """The key for exactly this address, if there is one. Raises UsageError where it would leave
    this machine in clear."""
    key = keys(environ.get(SETTING, "")).get(where.address)
    if key and not where.tls and not where.loopback:
        raise UsageError(
            f"{SETTING} has a key for {where.address}, which the package asks without TLS",
            hint=f"import it again with +tls (triton+tls://, tfs+tls://), or take {where.address} out of {SETTING}",
        )
    return key
