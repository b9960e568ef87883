"""Packages of git repositories: fetched on the host, packed without a trace of it, and built in the sandbox.

That comes before versions are chosen. A lock's commit counts, else what the ref is now; that is asked once and remembered.
What is installed is a wheel of the tree of that commit, with its submodules; its note (``direct_url.json``, PEP 610) names the
repository as pip's does. Where the image has git, a build has ``.git``, too: the commit's history with its tags, no more.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from carboy.base.canonical import digest_json
from carboy.base.credentials import redact
from carboy.base.fs import translate_os_errors
from carboy.build.folder.trees import MAX_TEXT_BYTES, pack_tree, read_packed
from carboy.build.graph.ops import Git
from carboy.build.graph.options import BuildOptions
from carboy.environments.building.builder import (
    BuildSystem,
    Source,
    WheelBuilder,
    parse_build_system,
    restore_build_system,
)
from carboy.environments.detect.markers import fits
from carboy.environments.detect.repositories import (
    Repository,
    RepositoryLine,
    bare_url,
    drop_lines,
    find_lines,
    is_repository,
    parse_line,
)
from carboy.environments.detect.sources import PLACE
from carboy.environments.install import Origin, SourceArchive
from carboy.environments.lock import normalise
from carboy.environments.reach import OFFLINE
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from carboy.environments.building.builder import Wheel
    from carboy.environments.install import EnvironmentRequest, PackageAssembler
    from carboy.store.store import Store

_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# What git's lines have, what that means, and what to do about it; the first that fits counts.
_REASONS = (
    (
        r"could not read (Username|Password)|terminal prompts disabled|Authentication failed|Permission denied \("
        r"|returned error: 40[13]|Host key verification failed",
        "wants a login, or does not let this one in",
        "carboy never asks for one: name a variable in the address, git+https://${TOKEN}@HOST/..., which goes nowhere but to "
        "git; for git+ssh have an agent, or a key without a passphrase, and the host in known_hosts",
    ),
    (
        r"couldn't find remote ref|has no commit|unknown revision|Unable to find [0-9a-f]{40}|not our ref",
        "has no such branch, tag or commit",
        "correct what is behind the @",
    ),
    (
        r"epository .*not found|does not appear to be a git repository|does not exist|returned error: 404",
        "is not there",
        "correct the address; a repository that is private may hide itself from those without a login",
    ),
    (
        r"ould not resolve host|ailed to connect|onnection (refused|timed out)|unreachable",
        "cannot be reached",
        "check the network, and HTTPS_PROXY for a proxy",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The files of a commit: their hash, which covers the tags of a history that is given along, their tar on the host, and
    how the package in them is built.
    """

    commit: str
    sha256: str
    file: str
    system: BuildSystem


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What a bundle has brought of a repository: a commit, and the path of the tar of its files."""

    commit: str
    file: str


class RepositoryPackages:
    """What an environment installs from repositories; ``trees`` are those that it found, by what was asked for.

    With ``brought``, by a repository's identity and the ref that is asked for, there are these and nothing else.
    """

    def __init__(
        self,
        assembler: PackageAssembler,
        request: EnvironmentRequest,
        *,
        store: Store,
        environ: Mapping[str, str],
        log: Callable[[str], None],
        fresh: bool = False,
        offline: bool = False,
        history: bool = False,
        brought: Mapping[tuple[tuple[str, str], str], Brought] | None = None,
    ) -> None:
        self._brought = brought
        self.trees: dict[Repository, Tree] = {}
        self._request = request
        self._history = history
        self._offline = offline
        self._store = store
        self._environ = environ
        self._log = log
        self._fresh = fresh
        indexes = replace(request.indexes, env=(*request.indexes.env, (OFFLINE, "1"))) if offline else request.indexes
        self._builder = WheelBuilder(assembler, replace(request, indexes=indexes), store=store, home=store.home)
        lines = [*find_lines(request.constraints), *find_lines(request.allowed)]
        self._pins = {line.repository.identity: line for line in lines if line.repository.is_pinned}

    def resolve(self) -> EnvironmentRequest:
        """Return the request with wheels in the place of repositories.

        Raises ``CarboyError`` for what cannot be fetched or built.
        """
        built: dict[tuple[str, str], tuple[RepositoryLine, Wheel, Origin]] = {}
        waiting = [line for line in find_lines(self._request.requirements) if self._fits(line)]
        while waiting:
            line = waiting.pop(0)
            if line.repository.identity not in built:
                wheel, origin = self._make(line)
                built[line.repository.identity] = (line, wheel, origin)
                waiting += self._find_inner(wheel, line.extras)
        origins = tuple(origin for _, _, origin in built.values())
        by_identity = {identity: (wheel, origin) for identity, (_, wheel, origin) in built.items()}
        overrides = (f"{wheel.name}{line.extras} @ {origin.address}\n" for line, wheel, origin in built.values())
        archives = tuple(
            SourceArchive(place=origin.address.removeprefix(f"file://{PLACE}/"), file=wheel.path, sha256=wheel.sha256)
            for _, wheel, origin in built.values()
        )
        return replace(
            self._request,
            requirements="".join(_point(line, by_identity) for line in self._request.requirements.splitlines()),
            constraints=drop_lines(self._request.constraints),
            sources=(*self._request.sources, *archives),
            origins=origins,
            stand_ins=replace(self._request.stand_ins, overrides="".join(sorted(overrides))),
        )

    def _fits(self, line: RepositoryLine, extras: Collection[str] = ()) -> bool:
        """Return whether a line counts for the Python of the image: what does not is neither fetched nor built."""
        return fits(line.marker, interpreter=self._request.interpreter, machine=os.uname().machine, extras=extras)

    def _find_inner(self, wheel: Wheel, extras: str) -> list[RepositoryLine]:
        """Return what a package itself asks for of repositories, with the extras that are wanted of it."""
        wanted = [normalise(word.strip()) for word in extras.strip("[]").split(",")]
        lines = find_lines("\n".join(wheel.requires), where=wheel.name)
        return [replace(line, marker="") for line in lines if self._fits(line, wanted)]

    def _make(self, line: RepositoryLine) -> tuple[Wheel, Origin]:
        pin = self._pins.get(line.repository.identity)
        wanted = line.repository if pin is None else replace(line.repository, ref=pin.repository.ref)
        tree = self.trees[wanted] = self._find_tree(wanted) if self._brought is None else self._read_brought(wanted)
        what = f"{bare_url(line.repository.url)} at {tree.commit[:12]}"
        if pin is not None and pin.sha256 not in {"", tree.sha256}:
            raise CarboyError(
                f"{what} is not what was locked",
                details=f"locked {pin.sha256}\nfound  {tree.sha256}",
                hint="its files, or tags that lead to it, are others; `carboy lock --upgrade` takes what is there now",
            )
        name = line.name or (pin.name if pin is not None else "")
        source = Source(
            name=normalise(name),
            what=f"{name} of {what}" if name else what,
            file=tree.file,
            sha256=tree.sha256,
            system=tree.system,
            folder=wanted.subdirectory,
        )
        wheel = self._builder.build(source, log=self._log, fresh=self._fresh)
        if line.name and wheel.name != normalise(line.name):
            raise CarboyError(
                f"{what} is the package {wheel.name}, not {line.name}",
                hint=f"name it as {wheel.name} @ {line.repository.address}",
            )
        return wheel, _describe(line, wheel, tree)

    def _read_brought(self, wanted: Repository) -> Tree:
        """Return the tree that a bundle has; what of it counts is read from its files."""
        assert self._brought is not None, "there is a bundle"
        shown = bare_url(wanted.url)
        found = self._brought.get((wanted.identity, wanted.ref))
        if found is None:
            raise CarboyError(
                f"the bundle has no {shown} at {wanted.ref or 'its default'}",
                hint="it was made for another folder, or before this one changed: carboy fetch FOLDER -o bundle.tar",
            )
        sha256, system = read_packed(found.file, subdirectory=wanted.subdirectory, shown=shown)
        return Tree(commit=found.commit, sha256=sha256, file=found.file, system=system)

    def _find_tree(self, wanted: Repository) -> Tree:
        """Return the tree of a repository at a ref, from the cache where its commit is known."""
        cache = self._store.cache
        asked = f"ref:{digest_json([wanted.identity[0], wanted.ref])}"
        entry = None if self._fresh or wanted.is_pinned else cache.get(asked)
        commit = wanted.ref if wanted.is_pinned else "" if entry is None else str(entry.value["commit"])
        known = cache.get(self._name_tree(wanted, commit)) if commit else None
        if known is not None:
            path = f"{self._store.home.cache}/sources/{known.value['file']}"
            if os.path.exists(path):
                return Tree(
                    commit=commit,
                    sha256=known.value["sha256"],
                    file=path,
                    system=restore_build_system(known.value["system"]),
                )
        tree = self._fetch(replace(wanted, ref=commit or wanted.ref))
        cache.put(asked, "ref", {"commit": tree.commit}, [])
        value = {"sha256": tree.sha256, "file": os.path.basename(tree.file), "system": asdict(tree.system)}
        cache.put(self._name_tree(wanted, tree.commit), "tree", value, [])
        return tree

    def _name_tree(self, wanted: Repository, commit: str) -> str:
        return f"tree:{digest_json([wanted.identity, commit, self._history])}"

    def _fetch(self, wanted: Repository) -> Tree:
        from carboy.build.solver.checkouts import fetch_checkout

        shown = bare_url(wanted.url)
        if self._offline:
            raise CarboyError(
                f"without a network this cannot be built: {shown} at {wanted.ref or 'its default'} is not here",
                hint="build it once where a network is, or `carboy fetch FOLDER -o bundle.tar` there",
            )
        url = _VARIABLE.sub(lambda found: self._expand(found.group(1), shown), wanted.url)
        agent = self._environ.get("SSH_AUTH_SOCK")
        options = BuildOptions(environ=self._environ, ssh={"default": agent} if agent else {})
        self._log(f"fetching {shown}{f' at {wanted.ref}' if wanted.ref else ''}")
        is_local = wanted.url.startswith("file://")
        try:
            found = fetch_checkout(
                Git(url=url, ref=wanted.ref), self._store, options, say=self._log, check=_go_on,
                protocols="file" if is_local else "", history=self._history,
            )  # fmt: skip
        except CarboyError as error:
            raise _explain(error, shown, wanted.ref) from error
        system = _read_system(found.folder, wanted.subdirectory, shown)
        sha256, path = pack_tree(self._store, found.folder, shown, history=self._history)
        return Tree(commit=found.commit, sha256=sha256, file=path, system=system)

    def _expand(self, name: str, shown: str) -> str:
        if name not in self._environ:
            raise CarboyError(
                f"the address {shown} has the variable {name}, which is not set", hint=f"export {name}=..."
            )
        return self._environ[name]


def _describe(line: RepositoryLine, wheel: Wheel, tree: Tree) -> Origin:
    """Return what a lock and an image say of a wheel's origin, and where it lies for the step that installs it."""
    place = Repository(url=bare_url(line.repository.url), ref=tree.commit, subdirectory=line.repository.subdirectory)
    about = {"vcs": "git", "commit_id": tree.commit}
    if line.repository.ref:
        about = {"vcs": "git", "requested_revision": line.repository.ref, "commit_id": tree.commit}
    note: dict[str, object] = {"url": place.url, "vcs_info": about}
    if place.subdirectory:
        note["subdirectory"] = place.subdirectory
    mark = digest_json([note, wheel.sha256])[:16]
    return Origin(
        address=f"file://{PLACE}/git/{mark}/{wheel.file}",
        line=f"{wheel.name} @ {place.address} --hash=sha256:{tree.sha256}",
        note=json.dumps(note),
        # Of a requirement without a name, the package was known when it was built.
        tools=((wheel.name, wheel.tools), *((f"{wheel.name}/{name.partition('/')[2]}", t) for name, t in wheel.inner)),
    )


def _point(line: str, built: Mapping[tuple[str, str], tuple[Wheel, Origin]]) -> str:
    """Return a requirement with the place of a wheel, where it names a repository; "" where none was made for it."""
    found = parse_line(line, "requirements") if is_repository(line) else None
    if found is None:
        return f"{line}\n"
    if found.repository.identity not in built:
        return ""
    wheel, origin = built[found.repository.identity]
    return f"{wheel.name}{found.extras} @ {origin.address}{f' {found.marker}' if found.marker else ''}\n"


def _explain(error: CarboyError, shown: str, ref: str) -> CarboyError:
    text = "\n".join(filter(None, (error.brief, error.details)))
    for pattern, brief, hint in _REASONS:
        if re.search(pattern, text):
            which = f" ({ref})" if ref and "branch" in brief else ""
            return CarboyError(f"the repository {shown} {brief}{which}", details=redact(text), hint=hint)
    return error


def _read_system(folder: str, subdirectory: str, shown: str) -> BuildSystem:
    """Return how the package in a checkout is built; no link leads out of it."""
    top = os.path.realpath(folder)
    place = os.path.realpath(f"{top}/{subdirectory}")
    if not os.path.isdir(place) or os.path.commonpath([top, place]) != top:
        raise CarboyError(f"{shown} has no folder {subdirectory}", hint="correct what is behind #subdirectory=")
    names = set(os.listdir(place))
    where = f"{shown}, folder {subdirectory}" if subdirectory else shown
    if "pyproject.toml" not in names:
        if "setup.py" in names:
            return BuildSystem()
        raise CarboyError(
            f"{where} is no package: it has no pyproject.toml and no setup.py",
            hint="name its folder: #subdirectory=FOLDER",
        )
    path = os.path.realpath(f"{place}/pyproject.toml")
    if os.path.commonpath([top, path]) != top:
        raise CarboyError(f"the pyproject.toml of {where} leads out of it", hint="name another commit")
    with translate_os_errors(f"read {path}"), open(os.open(path, _FILE), "rb") as file:
        text = file.read(MAX_TEXT_BYTES).decode("utf-8", "replace")
    return parse_build_system(text, where)


def _go_on() -> None:
    """Somebody waits for the checkout: the build itself."""
