"""What is kept of a run: frozen values, and their JSON. Pure."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from carboy.errors import CarboyError
from carboy.oci.digest import Digest

FORMAT = 1
MAX_RECORD_BYTES = 64 * 2**20

State: TypeAlias = Literal["running", "ended"]


class Variable(msgspec.Struct, frozen=True, kw_only=True):
    """A variable that the command line set; ``value`` is None where it is kept out (``ledger.secrets``)."""

    name: str
    value: str | None


class FileState(msgspec.Struct, frozen=True, kw_only=True):
    """A file, or a link, by its content; ``path`` is below what is mounted."""

    path: str
    digest: Digest


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a run made, changed or removed; ``path`` is the one in the container.

    ``digest`` is None where it is not there: the run removed it, or did not write what was announced. ``before`` is what was
    there when the run began, None for nothing, and for files that only the container had (--output).
    """

    path: str
    digest: Digest | None
    before: Digest | None = None


class Tree(msgspec.Struct, frozen=True, kw_only=True):
    """All files of a folder at one moment; ``digest`` covers their paths and contents, not times, owners or modes.

    ``files`` is sorted by path, and empty where there are more than ``ledger.files.MAX_LISTED``.
    """

    digest: Digest
    count: int
    size_bytes: int
    files: tuple[FileState, ...] = ()


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """What was mounted: ``text`` is the whole of it as --mount takes it, with absolute paths.

    ``kind`` is "bind", "volume" or "tmpfs"; ``source`` a path of the host, or a volume's name ("": without one). ``tree`` is what
    was in it before the run; a mounted file is a tree of one file, whose path is ".".
    """

    kind: str
    source: str
    target: str
    text: str
    read_only: bool
    tree: Tree | None = None

    def with_tree(self, tree: Tree) -> Mount:
        """Return a copy that says what is in it."""
        return msgspec.structs.replace(self, tree=tree)


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a run used: ``cpu_s`` of all its processes; the peak of its memory, 0 where nobody counted it.

    ``memory_from`` is "cgroup" (all processes together, page cache included), "rusage" (the largest process) or "".
    """

    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    memory_from: str = ""


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run. ``command`` is the whole of it, entry point included; ``env`` what the command line set beyond the image.

    ``image`` is the name that was given, or "" where ``folder`` was built; ``manifest`` is the image by digest. ``settings``
    are all other options, pairs of a name and JSON, which only the engine reads. ``declared`` are the paths of --output.
    Times are seconds since 1970; ``exit_status`` is None while it runs, or where nobody saw its end. ``notes`` say what
    could not be recorded; ``hidden_words`` that the command or an option is not whole, because it held a secret.
    """

    id: str
    manifest: Digest
    command: tuple[str, ...]
    seed: int
    started_at_s: float
    platform: str
    version: str
    format: int = FORMAT
    state: State = "running"
    image: str = ""
    folder: str = ""
    env: tuple[Variable, ...] = ()
    workdir: str = "/"
    mounts: tuple[Mount, ...] = ()
    secrets: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    declared: tuple[str, ...] = ()
    outputs: tuple[Output, ...] = ()
    exit_status: int | None = None
    ended_at_s: float = 0.0
    usage: Usage = Usage()
    notes: tuple[str, ...] = ()
    hidden_words: bool = False
    rerun_of: str = ""

    @property
    def shown_image(self) -> str:
        """The image for people: the folder that was built, or the name."""
        return self.folder or self.image

    def replace(self, **changes: Any) -> RunRecord:
        """Return a copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)


def encode_record(record: RunRecord) -> bytes:
    """Return the record as JSON for people and programs, a line feed at its end."""
    return msgspec.json.format(msgspec.json.encode(record, enc_hook=_encode), indent=2) + b"\n"


def parse_record(data: bytes, *, name: str) -> RunRecord:
    """Return the record that ``data`` is. Raises ``CarboyError`` for one that is damaged, or of a later version."""
    try:
        record = msgspec.json.decode(data, type=RunRecord, dec_hook=_decode)
    except (msgspec.DecodeError, CarboyError) as error:
        raise CarboyError(
            f"the record of the run {name} is damaged", details=str(error), hint=f"remove it: carboy runs rm {name}"
        ) from error
    if record.format > FORMAT:
        raise CarboyError(f"the record of the run {name} is of a later carboy", hint="use that version, or a later one")
    return record


def _encode(value: object) -> str:
    if isinstance(value, Digest):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _decode(kind: type, value: object) -> object:
    if kind is Digest and isinstance(value, str):
        return Digest.parse(value)
    raise NotImplementedError(kind.__name__)
