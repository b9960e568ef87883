"""The graph of a build, as values: what a front end writes and the solver carries out. Pure.

It is BuildKit's LLB, made small. A *state* is the root file system of a stage at one point: ``Scratch``, ``Base``, or what
``Run``, ``Copy`` or ``MakeFolder`` made of the state before it (``parent``), each of them exactly one layer, which may be
empty. An *origin* is what files are taken from: a state, or a ``LocalContext``, ``Http``, ``Git`` or ``InlineFiles``. An
``Image`` is what comes out.

Operations are compared by identity and shared: a stage that two others begin with is one object, carried out once. Two objects
of equal definition are carried out once, too, by their keys; so a front end need not look for duplicates. What nothing below the
``Image`` refers to is never looked at.

Paths of an image are absolute, with "/" and without "..", and joined with the stage's WORKDIR already. Variables are expanded.
``title`` is what people see ("[build 2/5] RUN make"), ``location`` where it was written; neither is part of a key.
Sources: moby/buildkit, solver/pb/ops.proto; reference of the Dockerfile language.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import msgspec

from carboy.oci.config import RunConfig
from carboy.oci.digest import Digest
from carboy.oci.platform import Platform

if TYPE_CHECKING:
    from carboy.bootstrap.recipe import ArchiveSettings

Network: TypeAlias = Literal["default", "none", "host"]
Security: TypeAlias = Literal["sandbox", "insecure"]
Sharing: TypeAlias = Literal["shared", "private", "locked"]


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """Where something is written: ``file`` as a person names it, the lines of the instruction (from 1, both included).

    ``text`` are these lines, joined by line feeds, for an error to show; "" when there are none.
    """

    file: str
    first_line: int
    last_line: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.first_line}"


class Ignore(Protocol):
    """What a context leaves out, as a .dockerignore says it; paths are relative, with "/", without a leading one."""

    def matches(self, path: str, *, is_folder: bool) -> bool:
        """Return whether ``path``, or a folder above it, is left out: the last pattern that fits decides."""
        ...

    def may_hold_exceptions(self, path: str) -> bool:
        """Return whether below the folder ``path``, itself left out, something may be taken back in: it must be read then."""
        ...


class BaseImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image to build on, as its resolver found it.

    ``name`` is what people call it ("debian:bookworm"); ``config`` is how its containers start, ``author`` and ``platform``
    as its document has them. ``digest`` is the manifest's, of an image in the local store. ``recipe`` names a base that is
    made when the build comes to it, with ``packages`` from its ``archive``, and ``note`` tells people so.
    """

    name: str
    config: RunConfig
    platform: Platform
    author: str = ""
    digest: Digest | None = None
    recipe: str = ""
    packages: tuple[str, ...] = ()
    archive: ArchiveSettings | None = None
    note: str = ""


class ImageResolver(Protocol):
    """Finds images by name: the store's, or those that can be made here."""

    def resolve(self, name: str, *, platform: Platform | None, location: Location | None = None) -> BaseImage:
        """Return the image that ``FROM name`` (or ``--from=name``) means. Raises ``CarboyError`` with where it was asked for.

        Nothing is made or fetched but what must be read. ``platform`` None: the one that is built for.
        """
        ...


# --- origins: what files are taken from ---------------------------------------------------------------------------


class LocalContext(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A folder of the machine: ``name`` is "context" for the build's own, else that of ``--build-context name=``.

    Which folder it is, the build's request says. ``ignore`` is its compiled .dockerignore, None for none; ``patterns`` are
    its lines, for a message about a file that is left out by them. Files come as 0:0, whoever owns them; only what is asked
    for is read.
    """

    name: str = "context"
    ignore: Ignore | None = None
    patterns: tuple[str, ...] = ()
    title: str = "[internal] load build context"


class Http(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """One file from ``url`` (http or https), by name ``filename``, with ``mode``, as root's; its time is Last-Modified.

    ``checksum`` is what its bytes must have; with one, and the file known, nobody is asked.
    """

    url: str
    filename: str
    checksum: Digest | None = None
    mode: int = 0o600
    title: str = ""
    location: Location | None = None


class Git(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A checkout of ``url`` at ``ref`` ("": the remote's default), of its folder ``subdir``; files are 0644 or 0755, root's.

    ``checksum`` is the commit, or the beginning of its name, that the ref must lead to. ``keep_git_dir`` leaves .git in it;
    ``submodules`` are fetched as well, and theirs.
    """

    url: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    keep_git_dir: bool = False
    submodules: bool = True
    title: str = ""
    location: Location | None = None


class InlineFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that stands in the Dockerfile: a heredoc, its variables expanded. ``name`` has no "/"."""

    name: str
    content: bytes
    mode: int = 0o644


class InlineFiles(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A folder of inline files, as root's."""

    files: tuple[InlineFile, ...]
    title: str = "[internal] preparing inline document"


# --- states -------------------------------------------------------------------------------------------------------


class Scratch(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """No files at all: FROM scratch."""

    title: str = "scratch"


class Base(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The files of an image: of FROM, of ``COPY --from=image``, of a mount's ``from=image``."""

    image: BaseImage
    title: str = ""
    location: Location | None = None


class BindMount(msgspec.Struct, frozen=True, kw_only=True):
    """``source`` (a file or folder, absolute in ``origin``; "/" for all of it) at ``target``; what is written there is lost."""

    target: str
    origin: Origin
    source: str = "/"
    read_only: bool = True


class CacheMount(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that is kept between builds, by ``id`` (as it was written, or the target): never part of image or key.

    A new one is made with ``mode``, ``uid``, ``gid``, or, with ``origin``, filled with its folder ``source``. "shared": all
    use it at once; "locked": one after the other; "private": whoever comes when it is in use gets another one.
    """

    target: str
    id: str
    sharing: Sharing = "shared"
    origin: Origin | None = None
    source: str = "/"
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    read_only: bool = False


class TmpfsMount(msgspec.Struct, frozen=True, kw_only=True):
    """An empty file system in memory, of ``size_bytes`` (None: the sandbox's default)."""

    target: str
    size_bytes: int | None = None


class SecretMount(msgspec.Struct, frozen=True, kw_only=True):
    """The secret ``id`` of the build's request: as a file at ``target`` (None: none), in the variable ``env`` (None: none),
    or both.

    Without it in the request there is neither, or the step fails when it is ``required``. Its content is part of nothing.
    """

    id: str
    target: str | None
    env: str | None = None
    required: bool = False
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


class SshMount(msgspec.Struct, frozen=True, kw_only=True):
    """The agent ``id`` of the build's request, as a socket at ``target`` ("/run/buildkit/ssh_agent.N" is the front end's choice).

    SSH_AUTH_SOCK is set to the first one's target unless the step's environment has it. Absent as a secret may be.
    """

    target: str
    id: str = "default"
    required: bool = False
    mode: int = 0o600
    uid: int = 0
    gid: int = 0


Mount: TypeAlias = "BindMount | CacheMount | TmpfsMount | SecretMount | SshMount"


class Run(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A command in a sandbox on ``parent``; what it changes is the layer.

    ``args`` is what is executed: the shell's words and the text for the shell form. ``env`` are "NAME=VALUE" of the image's
    environment and the ARGs in effect, in order, the last of a name counts; PATH is there. ``unkeyed_env`` is added where
    ``env`` has not the name, and is part of neither key nor history: predefined proxies. ``cwd`` is made when it is
    missing. ``user`` is USER's text ("": root), looked up in the image when it runs. ``files`` are put at /dev/pipes/<name>
    for the run, for a heredoc that is a script. ``no_cache`` runs it whatever is known.
    """

    parent: State
    args: tuple[str, ...]
    env: tuple[str, ...] = ()
    unkeyed_env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    mounts: tuple[Mount, ...] = ()
    files: tuple[InlineFile, ...] = ()
    network: Network = "default"
    security: Security = "sandbox"
    no_cache: bool = False
    title: str = ""
    location: Location | None = None


class CopyItem(msgspec.Struct, frozen=True, kw_only=True):
    """One source of a COPY or ADD: ``path`` in ``origin``, as written after expansion, whatever leading "/", "./" or ".." it has.

    ``wildcards`` lets Go's path patterns (* ? [...], escapes) mean something: no match is then nothing, while a path
    without one must be there. ``path`` may hold "/./", where ``Copy.parents`` begins. ``unpack`` replaces an archive (tar,
    plain or compressed by gzip, bzip2, xz, zstd; by content) by what is in it: "auto" if it is one, "always" is the same
    but an error if it is none. For ``Http`` the path is its filename, for ``InlineFiles`` a file's name; both without
    wildcards.
    """

    origin: Origin
    path: str
    wildcards: bool = True
    unpack: Literal["never", "auto", "always"] = "never"


class Copy(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """Files of ``items``, in order, to ``destination`` of ``parent``: COPY and ADD.

    ``destination`` is absolute and ends in "/" when it was written so, or as "." or with "/." at its end: a folder then,
    else a folder only when it is one, or the source is. ``chown`` is "user[:group]" after expansion (empty: as the origin
    has it: 0:0 of a context), names by the parent's files; ``chmod`` octal or symbolic (empty: unchanged). ``exclude`` are
    patterns below each source, as a .dockerignore's lines; ``excluded`` is their compiled form, and there when they are.
    ``parents`` keeps the sources' folders. ``link`` copies into an empty root: the layer does not depend on the parent.
    Traps 32 to 49.
    """

    parent: State
    items: tuple[CopyItem, ...]
    destination: str
    chown: str = ""
    chmod: str = ""
    exclude: tuple[str, ...] = ()
    excluded: Ignore | None = None
    parents: bool = False
    link: bool = False
    no_cache: bool = False
    title: str = ""
    location: Location | None = None


class MakeFolder(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The folder ``path`` with those above it: WORKDIR. New ones get ``mode`` and belong to ``user`` (USER's text, "": root)."""

    parent: State
    path: str
    user: str = ""
    mode: int = 0o755
    no_cache: bool = False
    title: str = ""
    location: Location | None = None


State: TypeAlias = "Scratch | Base | Run | Copy | MakeFolder"
Origin: TypeAlias = "State | LocalContext | Http | Git | InlineFiles"
Op: TypeAlias = "State | LocalContext | Http | Git | InlineFiles"


# --- what comes out -----------------------------------------------------------------------------------------------


class HistoryLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the image's history: ``state`` is the operation that made its layer, None for a line without one.

    ``created_by`` is BuildKit's text ("RUN |1 A=b /bin/sh -c make # buildkit"). The lines of the base come before all of
    these by themselves, and the time is the builder's affair.
    """

    created_by: str
    state: State | None = None
    comment: str = "buildkit.dockerfile.v0"
    author: str = ""


class Image(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """The image of a target: the files of ``state``, and how its containers start.

    ``history`` has a line with ``state`` for every Run, Copy and MakeFolder between the base and the state, in order.
    ``platform`` is the target's, whatever the base says.
    """

    state: State
    config: RunConfig
    history: tuple[HistoryLine, ...]
    platform: Platform
    author: str = ""
    warnings: tuple[str, ...] = ()


def is_linked(copy: Copy) -> bool:
    """Return whether a copy's layer stands by itself: ``--link``, which BuildKit ignores beside ``--chmod`` (trap 45)."""
    return copy.link and not copy.chmod


def list_inputs(op: Op) -> tuple[Op, ...]:
    """Return what an operation needs, its parent first, each once."""
    inputs: list[Op] = []
    if isinstance(op, Run | Copy | MakeFolder):
        inputs.append(op.parent)
    if isinstance(op, Run):
        inputs += [m.origin for m in op.mounts if isinstance(m, BindMount | CacheMount) and m.origin is not None]
    if isinstance(op, Copy):
        inputs += [item.origin for item in op.items]
    return tuple(dict.fromkeys(inputs))


def list_ops(*ends: Op) -> list[Op]:
    """Return all that ``ends`` need and they themselves, each once, what is needed first. Iterative: chains may be long."""
    done: dict[Op, None] = {}
    stack: list[tuple[Op, Iterator[Op]]] = [(end, iter(list_inputs(end))) for end in reversed(ends)]
    while stack:
        op, left = stack[-1]
        following = next((item for item in left if item not in done), None)
        if following is None:
            stack.pop()
            done.setdefault(op)
        else:
            stack.append((following, iter(list_inputs(following))))
    return list(done)


def list_chain(state: State) -> list[State]:
    """Return the states from the base (or scratch) up to ``state``."""
    chain = [state]
    while isinstance(chain[-1], Run | Copy | MakeFolder):
        chain.append(chain[-1].parent)
    return chain[::-1]
