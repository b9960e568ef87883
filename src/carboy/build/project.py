"""Reads a project's folder: its names, and the text of the few files that decide how it is built."""

from __future__ import annotations

import codecs
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.environments.conda.choose import ENVIRONMENTS
from carboy.environments.conda.choose import FILES as CONDA_FILES
from carboy.environments.conda.locks import CONDA_LOCK, PIXI_LOCK
from carboy.environments.detect.locks import LOCKS
from carboy.environments.detect.pipfile import PIPFILE
from carboy.environments.detect.requirements import find_includes
from carboy.environments.detect.wants import CODE
from carboy.environments.r.wants import CODE as R_CODE
from carboy.environments.r.wants import DESCRIPTION, INSTALL, PACKRAT, RENV
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from carboy.build.settings import Settings

MAX_FILE_BYTES = 2**20
MAX_LOCK_BYTES = 16 * 2**20
# As repo2docker: where one of these is, it has the files that decide, and those at the top do not count.
BINDERS = (".binder", "binder")
POST_BUILD = "postBuild"
_AT_TOP = frozenset(
    {
        "carboy.toml",
        "Procfile",
        ".dockerignore",
        ".containerignore",
        ".carboyignore",
        "carboy.lock",
        "pyproject.toml",
        "setup.cfg",
        DESCRIPTION,
    }
)
_DECIDING = frozenset(
    {"requirements.txt", PIPFILE, ".python-version", "runtime.txt", "apt.txt", POST_BUILD, "start", RENV, INSTALL}
    | {*LOCKS, *CONDA_FILES}
)
_LARGE = frozenset({RENV, PACKRAT, CONDA_LOCK, PIXI_LOCK, *LOCKS})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectFacts:
    """A folder as planning sees it: ``files`` are the names at its top, ``texts`` the contents of those that decide.

    ``texts`` has scripts and notebooks at the top as well, and files that requirements include, by their paths.
    ``scripts`` are the Python files at the top, with whether each has a ``__main__`` guard. ``binder`` is the folder that
    has the files that decide ("": they are at the top), whose names stand in ``texts`` without it; ``deciding`` are the
    names in it. ``post_build`` is the script that ends a build, its path from the top and its text.
    """

    folder: str
    files: tuple[str, ...]
    texts: dict[str, str]
    scripts: dict[str, bool]
    binder: str = ""
    deciding: tuple[str, ...] = ()
    post_build: tuple[str, str] | None = None


def read_project(folder: str) -> ProjectFacts:
    """Return the facts of ``folder``. Raises ``CarboyError`` when it is no folder or cannot be read."""
    with translate_os_errors(f"read the folder {folder}"):
        if not os.path.isdir(folder):
            raise CarboyError(f"there is no folder {folder}", hint="name the folder that holds your code")
        names = sorted(os.listdir(folder))
        binder = _find_binder(folder, names)
        texts = _read_all(folder, [name for name in names if name in _AT_TOP])
        scripts = [name for name in names if name.endswith((*CODE, *R_CODE)) and name != INSTALL]
        code = _read_all(folder, [name for name in scripts if os.path.isfile(f"{folder}/{name}")], lenient=True)
        python = {name: "__main__" in text for name, text in code.items() if name.endswith(".py")}
        place = f"{folder}/{binder}" if binder else folder
        inner = sorted(os.listdir(place)) if binder else names
        if binder:
            code.pop("setup.py", None)
            texts = {
                name: text for name, text in texts.items() if name not in {"pyproject.toml", "setup.cfg", DESCRIPTION}
            }
        packrat = [PACKRAT] if os.path.isfile(f"{place}/{PACKRAT}") else []
        texts |= _read_all(place, [*(name for name in inner if name in _DECIDING), *packrat])
        settings = _read_settings(texts)
        named = os.path.normpath(settings.requirements) if settings.requirements else ""
        if named and named not in texts and named not in code:
            texts |= _read_all(folder, [named] if os.path.isfile(f"{folder}/{named}") else [])
        post_build = _read_post_build(folder, binder, texts, named=settings.post_build)
        _read_includes(place, texts, ["requirements.txt", *ENVIRONMENTS, named], outer=bool(binder))
    return ProjectFacts(
        folder=folder,
        files=tuple(names),
        texts={**code, **texts},
        scripts=python,
        binder=binder,
        deciding=tuple(inner),
        post_build=post_build,
    )


def _find_binder(folder: str, names: list[str]) -> str:
    found = [name for name in BINDERS if name in names and os.path.isdir(f"{folder}/{name}")]
    if len(found) > 1:
        raise CarboyError("both .binder and binder are there", hint="remove one of them, or move its files")
    return found[0] if found else ""


def _read_settings(texts: dict[str, str]) -> Settings:
    from carboy.build.settings import Settings, parse_settings

    return parse_settings(texts["carboy.toml"]) if "carboy.toml" in texts else Settings()


def _read_post_build(folder: str, binder: str, texts: dict[str, str], *, named: str | None) -> tuple[str, str] | None:
    """Return the script that ends a build, its path and its text: what is ``named`` ("": by its name, None: nothing)."""
    if named is None:
        return None
    if not named:
        text = texts.get(POST_BUILD)
        return None if text is None else ("/".join(filter(None, (binder, POST_BUILD))), text)
    text = _read(folder, named, lenient=False) if os.path.exists(f"{folder}/{named}") else None
    if text is None:
        raise CarboyError(
            f"carboy.toml: build.post-build names {named}, which is no file", hint="name one of the folder"
        )
    return named, text


def _read_includes(place: str, texts: dict[str, str], names: list[str], *, outer: bool) -> None:
    """Read what requirements files include, and what those include, as far as it lies in the folder.

    ``outer``: the folder goes on one level above ``place``.
    """
    above = "../../" if outer else "../"
    waiting = [name for name in names if name in texts]
    while waiting:
        name = waiting.pop()
        for path in find_includes(texts[name], name):
            inside = not path.startswith(("/", above))
            if inside and path not in texts and os.path.isfile(f"{place}/{path}"):
                texts |= _read_all(place, [path])
                waiting.append(path)


def _read_all(folder: str, names: list[str], *, lenient: bool = False) -> dict[str, str]:
    return {name: text for name in names if (text := _read(folder, name, lenient=lenient)) is not None}


def _decode(data: bytes) -> str:
    """Return a file's text without a byte order mark, which editors and shells of Windows write, and pip reads."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def _read(folder: str, name: str, *, lenient: bool) -> str | None:
    """Return a file's text, None when it is no plain file. Raises ``CarboyError`` when it is too large or not UTF-8.

    ``lenient``: such a file is none that counts.
    """
    limit = MAX_LOCK_BYTES if name in _LARGE else MAX_FILE_BYTES
    fd = os.open(f"{folder}/{name}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    with os.fdopen(fd, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        if lenient:
            return ""
        raise CarboyError(f"{folder}/{name} is larger than {limit} bytes", hint="check that it is the right file")
    try:
        return _decode(data)
    except UnicodeDecodeError as error:
        if lenient:
            return ""
        raise CarboyError(f"{folder}/{name} is not UTF-8 text", details=str(error), hint="save it as UTF-8") from error
