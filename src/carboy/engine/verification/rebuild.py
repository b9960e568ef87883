"""One rebuild: a home with nothing in it, a copy of the folder, and a process of its own that builds there."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from carboy.base.config import FILE
from carboy.base.fs import translate_os_errors
from carboy.base.home import open_home
from carboy.base.proc import ask
from carboy.engine.context import Engine
from carboy.engine.documents.recorded import Recorded
from carboy.engine.verification.copying import copy_folder
from carboy.errors import CarboyError
from carboy.images.platforms import list_manifests
from carboy.linux.namespaces import CLONE_NEWUTS, unshare
from carboy.linux.process import set_host_name, set_parent_death_signal
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.manifest import parse_manifest
from carboy.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carboy.engine.verification.conditions import Settings

MAX_ANSWER_BYTES = 2**20
ASK_FD, ANSWER_FD = 3, 4
NOTHING = Recorded()
# What a copy of a folder of Python need not have: its images never have it.
_LEFT_OUT = (".git", ".venv", "venv")


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildRequest:
    """What the process of a rebuild is told to build: see :class:`Source`, whose paths are those of the copy here."""

    folder: str
    file: str
    words: tuple[str, ...]
    recorded: Recorded


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What is built: a folder, and (else it is one of Python) its Dockerfile, with the words of ``carboy build`` that shape it.

    ``bases`` are the images of this home that the Dockerfile builds on, by full name. ``recorded`` is what a folder of Python
    without a lock of its own is held to, and the state of the archive that its base was made of.
    """

    folder: str
    file: str = ""
    words: tuple[str, ...] = ()
    cwd: str = "/"
    bases: tuple[str, ...] = ()
    recorded: Recorded = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """What a rebuild made: in which store, its manifest or index, and the path of the folder's copy."""

    store: Store
    descriptor: Descriptor
    path: str


def rebuild(engine: Engine, place: str, source: Source, settings: Settings, *, program: Sequence[str]) -> Rebuilt:
    """Build ``source`` anew in the folder ``place``, which is made, under these settings, by ``program`` (``answer_request``).

    No step, layer or package of this home is used but the bases that a Dockerfile names, and files of a distribution's archive,
    whose hashes are checked. Raises ``CarboyError`` of the build.
    """
    home = open_home(f"{place}/h")
    with translate_os_errors("make ready for the rebuild"):
        _share_downloads(engine, home.path)
    store = Store.open(home, kind=engine.tier.kind)
    for name in source.bases:
        share_image(engine.store, store, name)
    path = f"{place}/{settings.folder_name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if source.file:
        copy_folder(source.folder, path, settings)
    else:  # modes are Git's two there, whatever the umask of whoever checked it out
        copy_folder(source.folder, path, settings, leave_out=_LEFT_OUT, mask=settings.umask or 0)
    request = {
        "folder": path,
        "file": _move(source, path),
        "words": list(source.words),
        "cwd": source.cwd,
        "recorded": asdict(source.recorded),
        **settings.to_json(),
    }
    answer = _call(program, request, _plan_environ(engine.environ, home.path, settings))
    digest = Digest.parse(answer["digest"])
    return Rebuilt(store=store, descriptor=_describe(store, digest, str(answer["media_type"])), path=path)


def _share_downloads(engine: Engine, home: str) -> None:
    """Give the other home what is checked by its hash whenever it is used, and the settings of this one."""
    archives = f"{engine.home.cache}/archives"
    os.makedirs(archives, mode=0o700, exist_ok=True)
    os.symlink(archives, f"{home}/cache/archives")
    config = f"{engine.home.path}/{FILE}"
    if os.path.exists(config):
        with open(config, "rb") as file, open(f"{home}/{FILE}", "wb") as copy:
            copy.write(file.read())


def share_image(here: Store, there: Store, name: str) -> None:
    """Give an image of one store to another on the same disk, under its full name, by links. Raises ``CarboyError``."""
    top = here.refs.get(name)
    if top is None:
        raise CarboyError(f"there is no image {name} here any more", hint="build or load it first")
    digests = [top.digest]
    for one in list_manifests(here, top):
        manifest = parse_manifest(here.blobs.read(one.digest))
        digests += [one.digest, manifest.config.digest, *(layer.digest for layer in manifest.layers)]
    with translate_os_errors(f"share the image {name}"):
        for digest in dict.fromkeys(digests):
            if not there.blobs.has(digest):
                os.link(here.blobs.path(digest), there.blobs.path(digest))
    there.refs.set(name, top)


def _move(source: Source, path: str) -> str:
    """Return the Dockerfile's path in the copy; one beside the folder stays where it is."""
    if not source.file:
        return ""
    inner = os.path.relpath(os.path.realpath(source.file), os.path.realpath(source.folder))
    return source.file if inner.startswith("..") else f"{path}/{inner}"


def _plan_environ(environ: Mapping[str, str], home: str, settings: Settings) -> dict[str, str]:
    """Return the environment of the rebuild: how this machine reaches archives stays, what people set for themselves does not."""
    found = {name: value for name, value in environ.items() if not name.startswith(("LC_", "CARBOY_"))}
    found |= {"CARBOY_HOME": home}
    wanted = {"LANG": settings.locale, "LC_ALL": settings.locale, "TZ": settings.zone, "PYTHONHASHSEED": settings.seed}
    return found | {name: value for name, value in wanted.items() if value}


def _call(program: Sequence[str], request: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """Let a process of its own build, and return its answer. Raises ``CarboyError`` as the build does."""
    question = json.dumps(request).encode()
    status, data = ask(program, question, env=environ, max_bytes=MAX_ANSWER_BYTES, ends=(ASK_FD, ANSWER_FD))
    if not data:
        raise CarboyError(f"the rebuild's process ended with status {status} without an answer")
    answer: dict[str, Any] = json.loads(data)
    if "error" in answer:
        error = answer["error"]
        raise CarboyError(f"it cannot be rebuilt: {error['brief']}", details=error["details"], hint=error["hint"])
    return answer


def _describe(store: Store, digest: Digest, media_type: str) -> Descriptor:
    return Descriptor(media_type=media_type, digest=digest, size=store.blobs.size(digest))


def answer_request(build: Callable[[Engine, RebuildRequest], Descriptor]) -> int:
    """Be the process of a rebuild: set up what is different in it, build, and answer with the image; returns the exit status."""
    with open(ASK_FD, "rb") as file:
        asked = json.loads(file.read())
    request = RebuildRequest(
        folder=asked["folder"],
        file=asked["file"],
        words=tuple(asked["words"]),
        recorded=Recorded(**asked["recorded"]),
    )
    try:
        made = build(_open_elsewhere(asked), request)
        answer: dict[str, Any] = {"digest": str(made.digest), "media_type": made.media_type}
    except CarboyError as error:
        answer = {"error": {"brief": error.brief, "details": error.details, "hint": error.hint}}
    with open(ANSWER_FD, "wb") as file:
        file.write(json.dumps(answer).encode())
    return 0 if "digest" in answer else 1


def _open_elsewhere(asked: Mapping[str, Any]) -> Engine:
    os.set_inheritable(ANSWER_FD, False)
    if asked["umask"] is not None:
        os.umask(asked["umask"])
    if asked["processors"]:
        os.sched_setaffinity(0, asked["processors"])
    os.chdir(asked["cwd"])
    engine = Engine.open(os.environ)
    set_parent_death_signal(signal.SIGKILL)  # nobody else would remove what it makes
    if asked["host_name"]:
        unshare(CLONE_NEWUTS)
        set_host_name(asked["host_name"])
    return engine
