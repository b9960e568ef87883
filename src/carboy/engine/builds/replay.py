"""A build that was done before, told again without being thought through: what it depends on is compared, and is the same.

A *build record* says of one command line, in one folder, what its build depended on and what it gave: bytes of the
Dockerfile and of what steers it, what stat(2) said of the context's files, the images of the bases' names, variables, this
carboy. It is kept in the store's cache under a digest of the command line, and goes with the cache. A record is only made of a
build for which that is all (``recorder``); it is believed while every part is as it was, and while the image, each of its
blobs and its names are there. All else is a build's matter. On the way of every build, so it imports next to nothing.
"""

from __future__ import annotations

import marshal
import os

import carboy
from carboy.build.context.observed import Observed
from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from hashlib import sha256

    from carboy.base.home import Home
else:
    # OpenSSL's, which `hashlib` loads, takes as long to load as a build that is cached may take for all.
    try:
        from _sha256 import sha256
    except ImportError:
        from _sha2 import sha256  # Python 3.12 and later

FORMAT = 2
# Variables that mean something to a build by themselves: predefined ARGs. A test holds them to the language's list.
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY", "SOURCE_DATE_EPOCH")
_OWN = "CARBOY_"
_MAX_TEXT = 16 * 2**20


class BuildRecord:
    """What one build depended on, and what it gave.

    ``texts`` are digests of files by path (None: there is none); ``variables`` names of variables that the command line asks
    for, ``environ`` the digest of their values and those of :data:`VARIABLES`. ``bases`` maps full image names to
    the digests that they stand for (None: to nothing), ``names`` are the full names that the image got, ``shown`` the first as
    people write it. ``blobs`` are the image's, as hexadecimal digits. ``titles`` and ``warnings`` are for people,
    ``tags`` as they wrote them, ``mode`` how they want to see it. ``rows`` are digests of the cache's notes of bases, by key.
    """

    __slots__ = (
        "bases",
        "blobs",
        "digest",
        "environ",
        "mode",
        "names",
        "observed",
        "rows",
        "shown",
        "size_bytes",
        "tags",
        "texts",
        "titles",
        "variables",
        "warnings",
    )

    def __init__(
        self,
        *,
        texts: Mapping[str, str | None],
        variables: Sequence[str],
        environ: str,
        observed: Sequence[Observed],
        bases: Mapping[str, str | None],
        names: Sequence[str],
        shown: str,
        blobs: Sequence[str],
        digest: str,
        size_bytes: int,
        titles: Sequence[str],
        warnings: Sequence[str],
        tags: Sequence[str] = (),
        mode: str = "auto",
        rows: Mapping[str, str] | None = None,
    ) -> None:
        self.texts = dict(texts)
        self.variables = tuple(variables)
        self.environ = environ
        self.observed = tuple(observed)
        self.bases = dict(bases)
        self.names = tuple(names)
        self.shown = shown
        self.blobs = tuple(blobs)
        self.digest = digest
        self.size_bytes = size_bytes
        self.titles = tuple(titles)
        self.warnings = tuple(warnings)
        self.tags = tuple(tags)
        self.mode = mode
        self.rows = dict(rows or {})

    def encode(self) -> bytes:
        """Return the record as bytes, with the version of carboy that made it."""
        fields = (
            self.texts, self.variables, self.environ, tuple(one.encode() for one in self.observed), self.bases,
            self.names, self.shown, self.blobs, self.digest, self.size_bytes, self.titles, self.warnings,
            self.tags, self.mode, self.rows,
        )  # fmt: skip
        return marshal.dumps((_stamp(), fields))  # type: ignore[arg-type]  # tuples, dictionaries, texts and numbers

    @classmethod
    def decode(cls, data: bytes) -> BuildRecord | None:
        """Return the record that :meth:`encode` made, None when another carboy made it, or it is damaged."""
        try:
            stamp, fields = marshal.loads(data)  # noqa: S302  from the caller's own home
            if stamp != _stamp():
                return None
            texts, variables, environ, observed, bases, names, shown, *rest = fields
            blobs, digest, size_bytes, titles, warnings, tags, mode, rows = rest
            return cls(
                texts=texts, variables=variables, environ=environ,
                observed=[Observed.decode(one) for one in observed], bases=bases, names=names,
                shown=shown, blobs=blobs,
                digest=digest, size_bytes=size_bytes, titles=titles, warnings=warnings,
                tags=tags, mode=mode, rows=rows,
            )  # fmt: skip
        except (ValueError, TypeError, EOFError):
            return None

    def is_true(
        self,
        environ: Mapping[str, str],
        *,
        find_digest: Callable[[str], str | None],
        find_text: Callable[[str], str | None],
    ) -> bool:
        """Return whether what the build depended on is as it was.

        ``find_digest`` says what an image's name stands for, ``find_text`` what is noted under a key of the store's cache.
        """
        return (
            self.environ == digest_variables(environ, self.variables)
            and all(digest_file(path) == digest for path, digest in self.texts.items())
            and all(find_digest(name) == digest for name, digest in self.bases.items())
            and all(find_digest(name) == self.digest for name in self.names)
            and all(digest_bytes((find_text(key) or "").encode()) == digest for key, digest in self.rows.items())
            and all(one.is_still() for one in self.observed)
        )


def find_record(arguments: Sequence[str], environ: Mapping[str, str]) -> BuildRecord | None:
    """Return what a build with these arguments, here and now, gives again; None when it must be built to be known.

    It counts as built: its blobs are marked as used, and the event is written. Enters no tier, and raises nothing.
    """
    from carboy.base.home import find_home, open_home

    try:
        path = find_home(environ, os.getuid())
        if not os.path.exists(f"{path}/state.db"):
            return None
        home = open_home(path)
        return _find(home, make_key(arguments), environ)
    except (OSError, CarboyError):
        return None  # the build says it


def _find(home: Home, key: str, environ: Mapping[str, str]) -> BuildRecord | None:
    from carboy.containers.events import write_event
    from carboy.store.store import Store

    store = Store(home, kind="")
    data = store.cache.get_bytes(key)
    record = BuildRecord.decode(data) if data is not None else None
    if record is None or not record.is_true(
        environ, find_digest=store.refs.find_digest, find_text=store.cache.get_text
    ):
        return None
    if not store.claims.touch_all(f"{home.store}/blobs/sha256/{name}" for name in record.blobs):
        return None
    if record.names:
        write_event(home.path, "image", "build", id=record.digest, name=record.shown)
    return record


def make_key(arguments: Sequence[str]) -> str:
    """Return under which key the record of a command line is kept: who asked, where, and for what. Raises ``OSError``."""
    asked = (FORMAT, os.getuid(), os.uname().machine, os.getcwd(), list(arguments))
    return f"build-record:{sha256(repr(asked).encode()).hexdigest()}"


def digest_variables(environ: Mapping[str, str], names: Iterable[str]) -> str:
    """Return one digest of all variables that a build may depend on."""
    known = {name: environ.get(name) for each in VARIABLES for name in (each, each.lower())}
    known |= {name: value for name, value in environ.items() if name.startswith(_OWN)}
    known |= {name: environ.get(name) for name in names}
    return sha256(repr(sorted(known.items())).encode()).hexdigest()


def digest_file(path: str) -> str | None:
    """Return the digest of a file, None when there is none. Raises ``OSError`` for what cannot be read, or is no file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with open(fd, "rb") as file:
        return digest_bytes(file.read(_MAX_TEXT))


def digest_bytes(data: bytes) -> str:
    """Return the digest of bytes."""
    return sha256(data).hexdigest()


def _stamp() -> tuple[object, ...]:
    """Return what changes with the program: what another one made of the same is not known."""
    return FORMAT, carboy.__version__, os.stat(__file__).st_mtime_ns
