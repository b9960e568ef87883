"""A source to a wheel, in two steps: what it is built with becomes layers, and the build runs on those, without a network.

::

    cache/wheels/<sha256>       wheels that were built; the store's cache says of what, with what, and for which Python
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from carboy.base.canonical import digest_json
from carboy.base.fs import open_durable, translate_os_errors
from carboy.environments.addresses import NO_STAND_INS, is_file_name
from carboy.environments.detect.requirements import strip_hashes
from carboy.environments.install import SourceArchive, installer_version, read_step
from carboy.environments.lock import normalise
from carboy.environments.trees import open_left, open_trees, read_left
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carboy.base.home import Home
    from carboy.environments.groups import MadeLayer
    from carboy.environments.install import Environment, EnvironmentRequest, PackageAssembler
    from carboy.store.store import Store

FORMAT = 2
ROOT = "/opt/build"
PLACE = "wheels"
MAX_WHEEL_BYTES = 2**31
_MAX_TEXT_BYTES = 2**20
_MAX_ROUNDS = 4
_WORK = "/run/carboy/work"
_BUILD = f"""set -eu
umask 022
cd {_WORK}
exec {ROOT}/bin/python -I build_step.py "sources/$2" "$1"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSystem:
    """What ``pyproject.toml`` says of how a package is built, or what stands for that (PEP 517, 518)."""

    requires: tuple[str, ...] = ("setuptools >= 40.8.0",)
    backend: str = "setuptools.build_meta:__legacy__"
    backend_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A source: the ``file`` is an archive whose one folder holds the package at ``folder``; ``sha256`` stands for it.

    ``name`` is the package's, ``what`` the source for people; ``form`` is how the archive's name ends. What it was built with
    before, and is to be again, are the request's ``tools`` by that name.
    """

    name: str
    what: str
    file: str
    sha256: str
    system: BuildSystem
    folder: str = ""
    form: str = ".tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A wheel that was built: its ``file`` name, where it is, its hash, the package in it with what that requires, the lines of
    what it was built with, and, by their names, what these were built with themselves.
    """

    file: str
    path: str
    sha256: str
    name: str
    version: str
    requires: tuple[str, ...]
    tools: tuple[str, ...] = ()
    inner: tuple[tuple[str, tuple[str, ...]], ...] = ()


def parse_build_system(text: str, what: str) -> BuildSystem:
    """Return what a ``pyproject.toml`` says. Raises ``CarboyError``."""
    import tomllib

    try:
        table = tomllib.loads(text).get("build-system", {})
        default = BuildSystem()
        return BuildSystem(
            requires=tuple(map(str, table.get("requires", default.requires))),
            backend=str(table.get("build-backend", default.backend)),
            backend_path=tuple(map(str, table.get("backend-path", ()))),
        )
    except (tomllib.TOMLDecodeError, AttributeError, TypeError) as error:
        raise CarboyError(
            f"the pyproject.toml of {what} cannot be read", details=str(error), hint="name another version of it"
        ) from error


def restore_build_system(value: Mapping[str, Any]) -> BuildSystem:
    """Return what a cache has of a build system."""
    return BuildSystem(
        requires=tuple(value["requires"]), backend=value["backend"], backend_path=tuple(value["backend_path"])
    )


class WheelBuilder:
    """Builds on the base of a request, with what its indexes have."""

    def __init__(self, assembler: PackageAssembler, request: EnvironmentRequest, *, store: Store, home: Home) -> None:
        self._assembler = assembler
        self._request = replace(
            request,
            chosen=None,
            sources=(),
            origins=(),
            stand_ins=NO_STAND_INS,
            has_packages=False,
            root=ROOT,
            platform="",  # it is built here; whether its wheel does there is seen by what that is for
        )
        self._store = store
        self._cache = f"{home.cache}/{PLACE}"

    def build(self, source: Source, *, log: Callable[[str], None], fresh: bool = False) -> Wheel:
        """Return the wheel of a source, built unless it was before with the same tools; ``fresh`` chooses those anew.

        Raises ``CarboyError`` with the last lines of what fails.
        """
        asked = f"needs:{digest_json([source.sha256, source.folder, asdict(source.system), self._request.interpreter])}"
        entry = self._store.cache.get(asked)
        needs: tuple[str, ...] = tuple(entry.value["needs"]) if entry is not None else ()
        for _ in range(_MAX_ROUNDS):
            made = self._make_tools(source, needs, log=log, fresh=fresh)
            tools = tuple(made.lock.splitlines())
            key = self._key(source, tools, made.tools)
            if (known := self._find(key)) is not None:
                return replace(known, tools=tools, inner=made.tools)
            built = self._run(source, made.layers, needs, log)
            if isinstance(built, tuple):
                needs = tuple(sorted({*needs, *built}))
                self._store.cache.put(asked, "needs", {"needs": needs}, [])
                continue
            self._store.cache.put(key, "wheel", {**asdict(built), "path": ""}, [])
            return replace(built, tools=tools, inner=made.tools)
        raise CarboyError(f"{source.what} asks again and again for what it is built with", details="\n".join(needs))

    def _key(self, source: Source, tools: Sequence[str], inner: Sequence[object]) -> str:
        request = self._request
        where = [request.interpreter, installer_version(), request.epoch_s, [str(digest) for digest in request.base]]
        return f"wheel:{digest_json([FORMAT, source.sha256, source.folder, asdict(source.system), list(tools), inner, where])}"

    def _make_tools(
        self, source: Source, needs: Sequence[str], *, log: Callable[[str], None], fresh: bool
    ) -> Environment:
        """Return the environment that a source is built with."""
        lines = [*(line for line in self._request.requirements.splitlines() if line.startswith("-"))]
        lines += [*source.system.requires, *needs]
        builds = (*self._request.builds, source.name)
        locked = "".join(f"{line}\n" for line in dict(self._request.tools).get("/".join(builds), ()))
        request = replace(
            self._request,
            requirements="".join(f"{line}\n" for line in lines),
            constraints=strip_hashes(locked),
            allowed=locked,
            builds=builds,
        )
        key = [FORMAT, request.requirements, locked, request.interpreter, [str(digest) for digest in request.base]]
        request = replace(request, key=digest_json(key))
        try:
            if fresh and not locked:
                self._assembler.resolve(request, log=log, fresh=True)
            return self._assembler.assemble(request, log=log)
        except CarboyError as error:
            hint = "`carboy lock` chooses anew what it is built with" if locked else error.hint
            raise CarboyError(
                f"what {source.what} is built with cannot be had: {error.brief}", details=error.details, hint=hint
            ) from error

    def _find(self, key: str) -> Wheel | None:
        entry = self._store.cache.get(key)
        if entry is None:
            return None
        value = entry.value
        path = f"{self._cache}/{value['sha256']}"
        if not os.path.exists(path):
            return None  # clean-up has taken it
        return Wheel(**{**value, "requires": tuple(value["requires"]), "tools": (), "inner": (), "path": path})

    def _run(
        self, source: Source, layers: Sequence[MadeLayer], needs: Sequence[str], log: Callable[[str], None]
    ) -> Wheel | tuple[str, ...]:
        """Return the wheel, or what its backend asks for beside what it has."""
        system, place = source.system, f"source{source.form}"
        words = {"build-backend": system.backend, "backend-path": system.backend_path, "known": needs}
        files = {"build_step.py": read_step("building/build_step.py"), "system.json": json.dumps(words)}
        request = replace(
            self._request,
            base=(*self._request.base, *(item.layer.diff_id for item in layers)),
            sources=(SourceArchive(place=place, file=source.file, sha256=source.sha256),),
        )
        log(f"building {source.what}")
        with self._assembler.open_step(request, _BUILD, (source.folder or ".", place), files, log, closed=True) as (
            work,
            _,
        ):
            with open_trees(work, "out") as out:
                names = os.listdir(out)
            if "needs.json" in names:
                text = read_left(f"{work}/out", "needs.json", limit=_MAX_TEXT_BYTES)
                return tuple(_parse_needs(text, source.what))
            wheels = [name for name in names if name.endswith(".whl") and is_file_name(name)]
            if len(wheels) != 1 or "METADATA" not in names:
                raise CarboyError(f"{source.what} was built, and left no wheel", hint="name another version of it")
            metadata = read_left(f"{work}/out", "METADATA", limit=_MAX_TEXT_BYTES)
            return self._keep(work, wheels[0], metadata)

    def _keep(self, work: str, file: str, metadata: str) -> Wheel:
        """Take the wheel of a step into the cache."""
        os.makedirs(self._cache, mode=0o700, exist_ok=True)
        os.utime(self._cache)  # for clean-up, which begins with what was not used for long
        with translate_os_errors("keep a wheel"), open_left(f"{work}/out", file) as stream:
            if os.fstat(stream.fileno()).st_size > MAX_WHEEL_BYTES:
                raise CarboyError(f"{file} is larger than {MAX_WHEEL_BYTES} bytes", hint="name another version of it")
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            path = f"{self._cache}/{sha256}"
            if not os.path.exists(path):
                stream.seek(0)
                with open_durable(path) as target:
                    shutil.copyfileobj(stream, target)
        fields = _read_fields(metadata)
        return Wheel(
            file=file,
            path=path,
            sha256=sha256,
            name=normalise(fields.get("name", [""])[0]),
            version=fields.get("version", [""])[0],
            requires=tuple(fields.get("requires-dist", [])),
        )


def _parse_needs(text: str, what: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(
        isinstance(item, str) and re.match(r"[A-Za-z0-9]", item) for item in found
    ):
        raise CarboyError(f"the backend of {what} asks for what is no package", hint="name another version of it")
    return [" ".join(item.split()) for item in found]


def _read_fields(metadata: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in metadata.replace("\r\n", "\n").split("\n\n", 1)[0].splitlines():
        key, colon, value = line.partition(":")
        if colon and not key[:1].isspace():
            found.setdefault(key.lower(), []).append(value.strip())
    return found
