"""Which of a folder's files speaks for its R packages, and what its code offers where none does: pure."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping

from carboy.environments.detect.wants import Finding
from carboy.environments.r.description import parse_description
from carboy.environments.r.locks import parse_packrat, parse_renv
from carboy.environments.r.scripts import find_libraries, parse_install
from carboy.environments.r.tokens import iter_tokens
from carboy.environments.r.wants import CODE, DESCRIPTION, FILES, INSTALL, PACKRAT, RENV, RWants
from carboy.errors import CarboyError

_MEANINGS = {
    RENV: "R packages, locked",
    PACKRAT: "R packages, locked",
    DESCRIPTION: "R packages",
    INSTALL: "R packages",
}
_RESTORING = frozenset({"renv", "packrat", "restore"})


def choose_r(texts: Mapping[str, str], *, named: str = "", suggests: bool = False) -> RWants | None:
    """Return the R packages that a folder asks for, None when no file says anything.

    ``texts`` is what was read of its files; ``named`` is the file that ``carboy.toml`` names; ``suggests``: what ``DESCRIPTION``
    suggests as well. Raises ``CarboyError`` with the file, or the two files that contradict each other, and what to do.
    """
    if named:
        named = posixpath.normpath(named)
        if named not in texts or named not in FILES:
            raise CarboyError(
                f"carboy.toml names {named} for R, which is {'none of its files' if named in texts else 'not there'}",
                hint=f"name one of {', '.join(FILES)}",
            )
        return _read(named, texts[named], suggests=suggests)
    found = [name for name in FILES if name in texts]
    if INSTALL in found and len(found) > 1 and _only_restores(texts[INSTALL]):
        found.remove(INSTALL)
    if DESCRIPTION in found:
        # Beside a lock it says what was locked, and of itself it need not be R's.
        wants = _read(DESCRIPTION, texts[DESCRIPTION], suggests=suggests) if found[0] == DESCRIPTION else None
        if wants is None:
            found.remove(DESCRIPTION)
    if len(found) > 1:
        raise CarboyError(
            f"both {found[0]} and {found[1]} say which R packages there are",
            hint=f'remove one of them, or say which counts in carboy.toml: [r] requirements = "{found[0]}"',
        )
    return _read(found[0], texts[found[0]], suggests=suggests) if found else None


def _only_restores(text: str) -> bool:
    """Return whether an ``install.R`` does no more than ask renv or packrat for what their lock holds."""
    return {token.text for token in iter_tokens(text) if token.kind == "name"} <= {
        "library",
        *_RESTORING,
    } and "restore" in text


def _read(name: str, text: str, *, suggests: bool) -> RWants | None:
    if name == RENV:
        return parse_renv(text)
    if name == PACKRAT:
        return parse_packrat(text)
    if name == DESCRIPTION:
        return parse_description(text, suggests=suggests)
    return RWants(packages=parse_install(text), file=INSTALL, source=INSTALL)


def offer_r(files: Collection[str], texts: Mapping[str, str]) -> tuple[str, ...]:
    """Return the packages that R's code at the top names, where no file says what is to be installed."""
    code = {name: text for name, text in texts.items() if name.endswith((*CODE, ".ipynb")) and name != INSTALL}
    return find_libraries(code, local=files)


def list_r_findings(files: Collection[str], wants: RWants | None) -> tuple[Finding, ...]:
    """Return what each file is that has to do with R packages, and whether it counts."""
    used = wants.file if wants is not None else ""
    return tuple(Finding(file=name, meaning=_MEANINGS[name], used=name == used) for name in FILES if name in files)
