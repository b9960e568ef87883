"""Answers that are failures: what a registry says, in words for people, and whether trying again may help.

A registry's own text is shown, but nothing is done for it: it is capped, and no control character of it reaches a terminal.
"""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NoReturn

from carboy.remote.errors import DeniedError, NotThereError, RegistryError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx

MAX_ERROR_BYTES = 65_536
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class Busy(Exception):
    """A failure that may be none the next time: ``status`` 0 without an answer; ``delay_s`` when the registry says a time."""

    def __init__(self, reason: str, *, status: int = 0, delay_s: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.delay_s = delay_s


def fail(response: httpx.Response, registry: str, *, has_login: bool) -> NoReturn:
    """Raise what an answer means: ``Busy``, ``DeniedError``, ``NotThereError``, or ``RegistryError``."""
    status = response.status_code
    said = _read_errors(response)
    if status in _PASSING:
        reason = f"it answers {status} {response.reason_phrase}" + (f": {said}" if said else "")
        raise Busy(reason, status=status, delay_s=read_delay(response))
    if status in {401, 403}:
        hint = f"`carboy login {registry}`" + (" as somebody who may" if has_login else "")
        raise DeniedError(
            f"{registry} refuses access, or has nothing of that name",
            registry=registry,
            status=status,
            details=said,
            hint=f"check the name; {hint}",
        )
    if status == 404:
        raise NotThereError(f"{registry} has nothing of that name", registry=registry, status=status, details=said)
    reason = f"{status} {response.reason_phrase}".strip()
    raise RegistryError(
        f"{registry} answers {reason}",
        registry=registry,
        status=status,
        details=said,
        hint="ask who keeps the registry",
    )


def read_capped(chunks: Iterable[bytes], limit: int) -> bytes:
    """Return what chunks are together; of more than ``limit`` bytes only a beginning, which is longer than that."""
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > limit:
            break
    return bytes(data)


def _read_errors(response: httpx.Response) -> str:
    """Return what the body of a failure says: the messages of the API's form, else its first line."""
    text = read_capped(response.iter_bytes(), MAX_ERROR_BYTES).decode("utf-8", "replace")
    try:
        errors = json.loads(text)["errors"]
        lines = [_describe(one) for one in errors[:5]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        is_page = "html" in response.headers.get("content-type", "")
        lines = [] if is_page else text.strip().splitlines()[:1]
    return "\n".join(_printable(line) for line in lines if line)


def _describe(error: dict[str, object]) -> str:
    parts = [str(error.get("code") or ""), str(error.get("message") or "")]
    detail = error.get("detail")
    if isinstance(detail, str) and detail not in parts:
        parts.append(detail)
    return ": ".join(part for part in parts if part)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)[:500]


def read_delay(response: httpx.Response) -> float | None:
    """Return how many seconds a registry asks to wait, None where it says nothing. Source: RFC 9110, Retry-After."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(min(int(text), 3600))
    try:
        then = parsedate_to_datetime(text)
        now = parsedate_to_datetime(response.headers["date"])
        return max(0.0, (then - now).total_seconds())
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def explain(error: Exception) -> str:
    """Return the reason of a failure without an answer."""
    return _printable(str(error) or type(error).__name__)
