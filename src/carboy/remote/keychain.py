"""Programs that keep logins, ``docker-credential-NAME``: asked, told and made to forget, by their standard input and output.

Source: docker/docker-credential-helpers, "Development". A failure is a status and a text on standard *output*.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from typing import TYPE_CHECKING

from carboy.base import proc
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_OUTPUT_BYTES = 2**20
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_NOT_FOUND = "credentials not found in native keychain"


def ask_helper(name: str, server: str, *, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """Return (user, secret) that a helper has for a server, None where it has nothing. Raises ``CarboyError``."""
    status, output = _run(name, "get", server, environ)
    if status:
        if _NOT_FOUND in output.lower():
            return None
        raise _failed(name, "get", status, output)
    try:
        value = json.loads(output)
        user, secret = value["Username"], value["Secret"]
    except (ValueError, KeyError, TypeError) as error:
        raise CarboyError(f"docker-credential-{name} answers what is no login", hint="log in again") from error
    if not isinstance(user, str) or not isinstance(secret, str):
        raise CarboyError(f"docker-credential-{name} answers what is no login", hint="log in again")
    return (user, secret) if user or secret else None


def tell_helper(name: str, login: Mapping[str, str], *, environ: Mapping[str, str]) -> None:
    """Give a login to a helper: ServerURL, Username, Secret. Raises ``CarboyError``."""
    status, output = _run(name, "store", json.dumps(dict(login)), environ)
    if status:
        raise _failed(name, "store", status, output)


def erase_helper(name: str, server: str, *, environ: Mapping[str, str]) -> None:
    """Make a helper forget a server. Raises ``CarboyError``."""
    status, output = _run(name, "erase", server, environ)
    if status and _NOT_FOUND not in output.lower():
        raise _failed(name, "erase", status, output)


def _run(name: str, verb: str, text: str, environ: Mapping[str, str]) -> tuple[int, str]:
    """Return (exit status, what it printed)."""
    if not _NAME.fullmatch(name):  # it comes from a file, and goes into the name of a program
        raise CarboyError(f"{name[:100]!r} is not the name of a credential helper", hint="correct config.json")
    program = shutil.which(f"docker-credential-{name}", path=environ.get("PATH", os.defpath))
    if program is None:
        hint = f"install docker-credential-{name}, or take it out of config.json and log in again"
        raise CarboyError(f"docker-credential-{name} is not on the PATH, and config.json asks for it", hint=hint)
    status, output = proc.ask([program, verb], text.encode(), env=environ, max_bytes=MAX_OUTPUT_BYTES)
    return status, output.decode("utf-8", "replace").strip()


def _failed(name: str, verb: str, status: int, output: str) -> CarboyError:
    # What it prints on failure is a reason; a secret is printed on success only.
    return CarboyError(
        f"docker-credential-{name} {verb} ended with status {status}",
        details=output[:500],
        hint="unlock it, or take it out of config.json and log in again",
    )
