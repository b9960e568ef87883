"""Where a build's files are: a folder, a repository, an archive at an address or on standard input, or nowhere.

And its Dockerfile.
"""

from __future__ import annotations

import io
import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.credentials import redact
from carboy.build.dockerfile.git import GitAddress, parse_git_address
from carboy.build.dockerfile.given import MainContext
from carboy.build.front import DOCKERFILES
from carboy.build.graph import ops
from carboy.build.sources import MAX_BYTES, DockerfileText, read_dockerfile, read_ignore
from carboy.dockerfile.instructions.model import Add, Dockerfile
from carboy.errors import CarboyError
from carboy.layers.compression import BZIP2, GZIP, XZ, ZSTD

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.engine.context import Engine
    from carboy.engine.dockerfile_request import DockerfileRequest
    from carboy.layers.tarread import Readable

_ARCHIVE = "context.tar"
_HEADS = (GZIP, BZIP2, ZSTD, XZ + b"Z\x00")


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """A context and its Dockerfile: ``context`` None is the ``folder``, which a .dockerignore may cut down; else the files come
    from an operation, or (without both) there are none.

    ``time_s`` is when what is elsewhere was made, in seconds since 1970; None where nobody says so.
    """

    text: DockerfileText
    context: MainContext | None = None
    folder: str = ""
    time_s: int | None = None


def is_archive(data: bytes) -> bool:
    """Return whether bytes begin as a tar does, plain or compressed by gzip, bzip2, xz or zstd."""
    return data.startswith(_HEADS) or data[257:262] == b"ustar"


def is_address(context: str) -> bool:
    """Return whether a context is a repository or an archive elsewhere."""
    return not os.path.isdir(context) and (
        parse_git_address(context) is not None or context.startswith(("http://", "https://"))
    )


def locate(engine: Engine, request: DockerfileRequest) -> Located:
    """Return the files and the Dockerfile of a request; what is elsewhere is fetched. Raises ``CarboyError``."""
    if request.archive is not None:
        content = request.archive
        origin = ops.InlineFiles(files=(ops.InlineFile(name=_ARCHIVE, content=content),))
        text = _with_text(request, lambda: _read_member(io.BytesIO(content), request.file, where="the archive"))
        return Located(text=text, context=_unpacked(origin, _ARCHIVE))
    if is_address(request.context):
        address = parse_git_address(request.context)
        return _locate_repository(engine, request, address) if address is not None else _locate_url(engine, request)
    if not request.context:
        text = _with_text(request, lambda: read_dockerfile(".", file=request.file))
        return Located(text=text, context=ops.InlineFiles(files=(), title="[internal] no build context"))
    if request.text is None:
        return Located(text=read_dockerfile(request.context, file=request.file), folder=request.context)
    ignore, name = read_ignore(request.context)
    text = DockerfileText(name=request.file or DOCKERFILES[0], data=request.text, ignore=ignore, ignore_name=name)
    return Located(text=text, folder=request.context)


def git_operation(address: GitAddress, *, title: str) -> ops.Git:
    """Return the operation that checks a repository out."""
    return ops.Git(
        url=address.remote,
        ref=address.ref,
        subdir=address.subdir,
        checksum=address.checksum,
        keep_git_dir=bool(address.keep_git_dir),
        submodules=address.submodules,
        title=title,
    )


def _with_text(request: DockerfileRequest, read: Callable[[], DockerfileText]) -> DockerfileText:
    """Return the request's own Dockerfile where there is one, else what ``read`` finds. No .dockerignore counts for these."""
    if request.text is None:
        found = read()
        return DockerfileText(name=found.name, data=found.data)
    return DockerfileText(name=request.file or DOCKERFILES[0], data=request.text)


def _locate_repository(engine: Engine, request: DockerfileRequest, address: GitAddress) -> Located:
    from carboy.build.graph.options import BuildOptions
    from carboy.build.solver.checkouts import fetch_checkout

    operation = git_operation(address, title=f"[internal] load git source {redact(request.context)}")
    options = BuildOptions(environ=engine.environ, ssh=request.ssh)
    found = fetch_checkout(operation, engine.store, options, say=_silence, check=_go_on)
    folder = found.folder

    def read() -> DockerfileText:
        names = os.listdir(folder)
        file = request.file or next((name for name in DOCKERFILES if name in names), DOCKERFILES[0])
        path = posixpath.normpath(posixpath.join("/", file)).lstrip("/")
        if os.path.realpath(f"{folder}/{path}") != f"{os.path.realpath(folder)}/{path}":
            raise CarboyError(f"{path} of the repository is a symbolic link", hint="name the Dockerfile itself with -f")
        return read_dockerfile(folder, file=f"{folder}/{path}")

    context = ops.LocalContext(title=operation.title)
    return Located(text=_with_text(request, read), context=context, folder=folder, time_s=found.time_s)


def _locate_url(engine: Engine, request: DockerfileRequest) -> Located:
    from carboy.build.solver.downloads import fetch_file, show_url

    where = show_url(request.context)
    origin = ops.Http(url=request.context, filename=_ARCHIVE, title=f"[internal] load remote build context {where}")
    view, _ = fetch_file(origin, engine.store, engine.environ, check=_go_on)
    with open(view.path_of(_ARCHIVE), "rb") as stream:
        head = stream.read(512)
        stream.seek(0)
        if is_archive(head):
            text = _with_text(request, lambda: _read_member(stream, request.file, where=where))
            return Located(text=text, context=_unpacked(origin, _ARCHIVE), time_s=view.time_of(_ARCHIVE))
        data = stream.read(MAX_BYTES + 1)
    empty = ops.InlineFiles(files=(), title="[internal] no build context")
    return Located(text=DockerfileText(name=where, data=data), context=empty, time_s=view.time_of(_ARCHIVE))


def find_time(
    engine: Engine, request: DockerfileRequest, located: Located, dockerfile: Dockerfile, *, name: str
) -> int | None:
    """Return when a source was made, in seconds since 1970: what SOURCE_DATE_EPOCH is when it names one.

    ``name`` is "context", a named context, or a stage that is one ADD from elsewhere on scratch: a repository's commit has a
    time, and what a server sends with Last-Modified. None where it is none of these, or has no time. Raises ``CarboyError``.
    """
    if name == "context":
        return located.time_s
    source = request.contexts.get(name.lower())
    if source is not None:
        return _find_address_time(engine, request, source.value) if source.kind == "git" else None
    for stage in dockerfile.stages:
        if stage.name != name.lower() or stage.start.image != "scratch" or len(stage.instructions) != 1:
            continue
        (only,) = stage.instructions
        if isinstance(only, Add) and len(only.sources) == 1:
            return _find_address_time(engine, request, only.sources[0])
    return None


def _find_address_time(engine: Engine, request: DockerfileRequest, text: str) -> int | None:
    from carboy.build.graph.options import BuildOptions
    from carboy.build.solver.checkouts import fetch_checkout
    from carboy.build.solver.downloads import fetch_file

    address = parse_git_address(text)
    if address is not None:
        operation = git_operation(address, title="")
        options = BuildOptions(environ=engine.environ, ssh=request.ssh)
        return fetch_checkout(operation, engine.store, options, say=_silence, check=_go_on).time_s
    if not text.startswith(("http://", "https://")):
        return None
    view, _ = fetch_file(ops.Http(url=text, filename=_ARCHIVE), engine.store, engine.environ, check=_go_on)
    return view.time_of(_ARCHIVE)


def _unpacked(origin: ops.Origin, name: str) -> ops.Copy:
    """Return the files of an archive as a context's: all of them root's."""
    item = ops.CopyItem(origin=origin, path=name, wildcards=False, unpack="always")
    return ops.Copy(
        parent=ops.Scratch(), items=(item,), destination="/", chown="0:0", title="[internal] unpack build context"
    )


def _read_member(stream: Readable, file: str, *, where: str) -> DockerfileText:
    """Return a Dockerfile out of an archive: that of the name, else the first of the usual ones."""
    from carboy.layers.compression import open_archive
    from carboy.layers.tarread import REGULAR, TarReader

    wanted = [posixpath.normpath(file).lstrip("/")] if file else list(DOCKERFILES)
    found: dict[str, bytes] = {}
    reader = TarReader(open_archive(stream))
    for member in reader:
        name = posixpath.normpath(os.fsdecode(member.name)).lstrip("/")
        if name not in wanted or member.kind != REGULAR:
            continue
        if member.size > MAX_BYTES:
            raise CarboyError(
                f"{name} in {where} is larger than {MAX_BYTES} bytes", hint="check that it is the right file"
            )
        parts = []
        while piece := reader.read_data(2**20):
            parts.append(bytes(piece))
        found[name] = b"".join(parts)
    for name in wanted:
        if name in found:
            return DockerfileText(name=name, data=found[name])
    raise CarboyError(f"there is no {wanted[0]} in {where}", hint="name the Dockerfile with -f, as it is called there")


def _silence(line: str) -> None:
    """Take a line that nobody waits for."""


def _go_on() -> None:
    """Never stop."""
