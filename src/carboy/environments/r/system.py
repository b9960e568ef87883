"""What R packages need of the system, by Debian's names: a table (``system.toml``), and what compilers say of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files

_HEADER = re.compile(r"(?:fatal )?error: ([\w./+-]+\.h(?:pp)?): No such file")
_LIBRARY = re.compile(r"cannot find -l([\w.+-]+)")
_MODULE = re.compile(
    r"(?:No package '([\w.+-]+)' found|Package '?([\w.+-]+)'?,? (?:was not found|not found|required by))"
)
# What many packages' configure scripts print: " * deb: libxml2-dev (Debian, Ubuntu, etc)".
_ADVICE = re.compile(r"\bdeb:\s*((?:lib)?[a-z0-9][a-z0-9.+-]+)")
_PROGRAM = re.compile(r"(?:^|[\s:'\"`])([\w.+-]+)['\"`]?: (?:command )?not found", re.MULTILINE)


@cache
def _read_table() -> Mapping[str, Mapping[str, list[str]]]:
    import tomllib

    return tomllib.loads(files(__package__).joinpath("system.toml").read_text(encoding="utf-8"))


def find_development(names: Iterable[str]) -> tuple[str, ...]:
    """Return the Debian packages with which these R packages are compiled, sorted."""
    table = _read_table()["packages"]
    return tuple(sorted({package for name in names for package in table.get(name, ())}))


def find_missing(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the Debian packages that a failed installation asks for, as far as its output says so, sorted."""
    table, text = _read_table(), "\n".join(lines)
    found: set[str] = {match[1] for match in _ADVICE.finditer(text)}
    for pattern, kind in ((_HEADER, "headers"), (_LIBRARY, "libraries"), (_MODULE, "modules"), (_PROGRAM, "programs")):
        for match in pattern.finditer(text):
            name = next(filter(None, match.groups()))
            found.update(table[kind].get(name, ()))
            if kind == "headers":
                found.update(table[kind].get(name.partition("/")[0] + "/", ()))
    return tuple(sorted(found))
