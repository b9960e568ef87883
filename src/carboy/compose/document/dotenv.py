"""``.env`` and ``env_file``: lines of ``NAME=value`` in Compose's dialect: pure.

Unquoted values end at the line or at `` #``; double quotes know ``\\n \\r \\t \\" \\\\ \\$``, single quotes nothing, and both may
span lines. Variables are replaced in all but single quotes: by the environment first, then by lines above. ``export`` may
stand in front, ``NAME: value`` is ``NAME=value``, and a name alone takes its value from the environment.
Source: Docker's documentation, "Env file syntax".
"""

from __future__ import annotations

import re
from collections import ChainMap
from typing import TYPE_CHECKING

from carboy.compose.document.interpolate import TemplateError, interpolate
from carboy.compose.errors import ComposeError, Issue

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_BYTES = 1 << 20
_START = re.compile(r"[ \t]*(?:export[ \t]+)?([A-Za-z0-9_.\-\[\]]+)[ \t]*(=|:|(?=\r?\n|\Z|#))[ \t]*", re.ASCII)
_BLANK = re.compile(r"[ \t\r\f\v]*(?:#[^\n]*)?(?:\n|\Z)")
_REST = re.compile(r"[ \t\r]*(?:#[^\n]*)?(?:\n|\Z)")
_QUOTED = {
    "'": re.compile(r"'([^'\\]*(?:\\.[^'\\]*)*)'", re.DOTALL),
    '"': re.compile(r'"([^"\\]*(?:\\.[^"\\]*)*)"', re.DOTALL),
}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
# A dollar sign that was escaped is doubled, which interpolation turns into one.
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "'": "'", "\\": "\\", "$": "$$"}


def parse_dotenv(data: bytes, *, file: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a file sets, in its order, with those of ``environment`` replaced in values.

    Raises ``ComposeError`` with file and line for what is no assignment, an open quote, a missing required variable.
    """
    if len(data) > MAX_BYTES:
        raise _error(f"it is larger than {MAX_BYTES >> 20} MiB", file, 0)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _error("it is not UTF-8 text", file, data.count(b"\n", 0, error.start) + 1) from error
    found: dict[str, str] = {}
    variables = ChainMap(dict(environment), found)
    at = 0
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at = blank.end()
            continue
        start = _START.match(text, at)
        if not start:
            raise _error(f"{text[at:].partition(chr(10))[0]!r} is not NAME=value", file, _line(text, at))
        name, sign = start.groups()
        if not sign:
            if name in environment:
                found[name] = environment[name]
            at = start.end()
            continue
        try:
            found[name], at = _value(text, start.end(), variables)
        except TemplateError as error:
            raise _error(f"{name}: {error}", file, _line(text, at)) from error
    return found


def parse_raw_env(data: bytes, *, file: str) -> dict[str, str]:
    """Return the variables of a file in ``format: raw``: everything after ``=`` is the value, as ``docker run --env-file``."""
    if len(data) > MAX_BYTES:
        raise _error(f"it is larger than {MAX_BYTES >> 20} MiB", file, 0)
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode("utf-8-sig", errors="replace").splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, sign, value = line.lstrip().partition("=")
        if not sign or not name or any(char.isspace() for char in name):
            raise _error(f"{line!r} is not NAME=value", file, number)
        found[name] = value
    return found


def _value(text: str, at: int, variables: Mapping[str, str]) -> tuple[str, int]:
    """Return the value that starts at ``at``, and where the next line starts."""
    quote = text[at : at + 1]
    if quote in _QUOTED and quote:
        match = _QUOTED[quote].match(text, at)
        if not match:
            raise TemplateError(f"the quote {quote} is not closed")
        rest = _REST.match(text, match.end())
        if not rest:
            raise TemplateError(f"something stands behind the closing {quote}")
        inner = match.group(1)
        if quote == "'":
            return inner.replace("\\'", "'"), rest.end()
        escaped = _ESCAPE.sub(lambda found: _ESCAPES.get(found.group(1), found.group()), inner)
        return interpolate(escaped, variables, lenient=True).text, rest.end()
    end = text.find("\n", at)
    end = len(text) if end < 0 else end
    raw = text[at:end]
    raw = "" if raw.startswith("#") and text[at - 1] in " \t" else re.split(r"[ \t]#", raw, maxsplit=1)[0]
    return interpolate(raw.strip(), variables, lenient=True).text, min(end + 1, len(text))


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _error(text: str, file: str, line: int) -> ComposeError:
    return ComposeError("an environment file cannot be read", issues=(Issue(text=text, file=file, line=line),))
