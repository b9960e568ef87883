"""Containers as Python values: ``carboy.run`` and what it returns."""

from __future__ import annotations

import os
import shlex
import signal as signals
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carboy.base.proc import spawn
from carboy.base.proc import wait as wait_for
from carboy.client.calls import call, find_cli
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from types import TracebackType

Command = str | Sequence[str] | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a program did: its exit status, and the bytes of its two outputs."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """The output as text."""
        return self.stdout.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class Change:
    """One path that a container added (``kind`` "A"), changed ("C") or deleted ("D")."""

    kind: str
    path: str


class Container:
    """A container that there is, or was. As a context manager it is removed at the end of the block, running or not.

    Make one with :func:`run`, find one with :func:`get`. Every method raises ``CarboyError`` when it cannot do its work.
    """

    def __init__(self, row: Mapping[str, Any]) -> None:
        self.id: str = row["Id"]
        self._row = dict(row)

    def __repr__(self) -> str:
        return f"<Container {self.name} {self.id[:12]} of {self.image}>"

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove(force=True)

    @property
    def name(self) -> str:
        """The name that it has, or had when it was last looked at."""
        return str(self._row["Name"])

    @property
    def image(self) -> str:
        """What it was made of."""
        return str(self._row["Image"])

    @property
    def ports(self) -> list[str]:
        """The published ports now, as ``127.0.0.1:8080:80/tcp``."""
        return list(self.reload()["Ports"])

    @property
    def status(self) -> str:
        """What it does now: created, running, paused, restarting or exited."""
        return str(self.reload()["State"])

    @property
    def health(self) -> str:
        """Healthy, unhealthy, starting, or "" without a health check."""
        return str(self.reload()["Health"])

    def reload(self) -> dict[str, Any]:
        """Look again and return what ``carboy ps --json`` shows of it."""
        self._row = dict(call("row", name=self.id))
        return dict(self._row)

    def start(self) -> None:
        """Start it; returns when its command has been executed."""
        call("start", name=self.id)

    def wait(self) -> int:
        """Wait for its end and return its exit status; at once when it does not run."""
        return int(call("wait", name=self.id))

    def stop(self, *, timeout_s: int | None = None) -> None:
        """Ask it to end, and end it after ``timeout_s`` (None: what it was made with)."""
        call("stop", name=self.id, signal=signals.SIGTERM, timeout_s=timeout_s)

    def kill(self, signal: int = signals.SIGKILL) -> None:
        """Send its process a signal."""
        call("kill", name=self.id, signal=int(signal))

    def pause(self) -> None:
        """Hold all of its processes."""
        call("pause", name=self.id, resume=False)

    def unpause(self) -> None:
        """Let its processes go on."""
        call("pause", name=self.id, resume=True)

    def rename(self, name: str) -> None:
        """Give it another name."""
        call("rename", name=self.id, new_name=name)
        self._row["Name"] = name

    def remove(self, *, force: bool = False) -> None:
        """Remove it and what it wrote; a running one only with ``force``, with which one that is gone is fine."""
        try:
            call("remove", name=self.id, force=force)
        except CarboyError as error:
            if not (force and error.brief.startswith("there is no container")):
                raise

    def logs(self, *, tail: int | None = None, timestamps: bool = False) -> str:
        """Return what it has written, both streams in the order of their lines."""
        words = ["logs", *(["--tail", str(tail)] if tail is not None else []), *(["-t"] if timestamps else []), self.id]
        return b"".join(_stream(words)).decode(errors="replace")

    def follow(self) -> Iterator[bytes]:
        """Yield the lines of its output, from the first on, until it ends."""
        rest = b""
        for chunk in _stream(["logs", "--follow", self.id]):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line + b"\n" for line in lines)
        if rest:
            yield rest

    def exec(
        self, command: str | Sequence[str], *, user: str = "", workdir: str = "", env: Mapping[str, str] | None = None,
        input: bytes = b"",
    ) -> Result:  # fmt: skip
        """Run one more program in it and return what it did. ``command`` as one text is split as a shell splits words."""
        words = ["exec", "-i", *(["-u", user] if user else []), *(["-w", workdir] if workdir else [])]
        for name, value in (env or {}).items():
            words += ["-e", f"{name}={value}"]
        return _complete([*words, self.id, *_split(command)], data=input)

    def copy_in(
        self, source: str | os.PathLike[str], path: str, *, follow: bool = False, archive: bool = False
    ) -> int:  # fmt: skip
        """Copy a file or folder of the host to ``path`` in it, as ``carboy cp``; returns how many entries were made.

        They belong to its root, or keep their ids with ``archive``. ``follow``: a link is what it points to.
        """
        values = {"source": os.fspath(source), "path": path, "follow": follow, "archive": archive}
        return int(call("copy_in", name=self.id, **values))

    def copy_out(
        self, path: str, destination: str | os.PathLike[str], *, follow: bool = False, archive: bool = False
    ) -> int:  # fmt: skip
        """Copy ``path`` in it to the host, as ``carboy cp``; returns how many entries were made, which are the caller's."""
        values = {"path": path, "destination": os.fspath(destination), "follow": follow, "archive": archive}
        return int(call("copy_out", name=self.id, **values))

    def put_archive(self, path: str, data: bytes) -> None:
        """Unpack a tar, compressed or not, into the folder ``path`` in it; all of it belongs to its root."""
        _check(_complete(["cp", "-q", "-", f"{self.id}:{path}"], data=data))

    def get_archive(self, path: str) -> Iterator[bytes]:
        """Yield what is at ``path`` in it as a tar, piece by piece."""
        return _stream_data(["cp", f"{self.id}:{path}", "-"])

    def export(self) -> Iterator[bytes]:
        """Yield all of its files as a tar, piece by piece; what is mounted in it is left out."""
        return _stream_data(["export", self.id])

    def diff(self) -> list[Change]:
        """Return what it changed of its image's files, sorted by path."""
        return [Change(kind, path) for kind, path in call("diff", name=self.id)]

    def commit(
        self, name: str = "", *, changes: Sequence[str] = (), message: str = "", author: str = "", pause: bool = True
    ) -> str:  # fmt: skip
        """Make an image of what it has now, under ``name`` when one is given, and return its digest, which :func:`run` takes.

        ``changes`` are instructions as in a Dockerfile ("ENV A=1"). One that runs is held meanwhile, unless ``pause`` is False.
        """
        values = {"changes": list(changes), "message": message, "author": author, "pause": pause}
        return str(call("commit", name=self.id, new_name=name or None, **values))


def run(
    image: str | os.PathLike[str],
    command: Command = None,
    *,
    name: str | None = None,
    entrypoint: str | None = None,
    env: Mapping[str, str] | None = None,
    volumes: Mapping[str, str] | Sequence[str] = (),
    tmpfs: Sequence[str] = (),
    ports: Sequence[str | int] = (),
    network: str | None = None,
    memory: str | int | None = None,
    cpus: float | None = None,
    user: str | None = None,
    workdir: str | os.PathLike[str] | None = None,
    hostname: str | None = None,
    labels: Mapping[str, str] | None = None,
    read_only: bool = False,
    restart: str = "no",
    remove: bool = False,
    runtime: str = "native",
    start: bool = True,
) -> Container:
    """Run a command in a new container and return at once, with the container.

    ``image`` is an image's name, or a folder, which is built when something in it has changed. ``volumes`` map what is
    mounted (a folder or a volume's name) to where ("/data" or "/data:ro"); ``ports`` are 8080 (any free port of the host
    for it) or "9000:8080"; ``network`` None is private where this machine can have it, else none; ``memory`` is "2g" or bytes.
    ``remove``: it goes when it ends. ``start`` False only makes it.
    Raises ``CarboyError``: 125 when the container cannot be made as asked, 126 or 127 for its command.
    """
    mounts = [["volume", text] for text in volume_texts(volumes)] + [["tmpfs", text] for text in tmpfs]
    limits = [[option, str(value)] for option, value in (("memory", memory), ("cpus", cpus)) if value is not None]
    request = {
        "name": name,
        "arguments": _split(command),
        "entrypoint": None if entrypoint is None else [entrypoint],
        "env": [f"{key}={value}" for key, value in (env or {}).items()],
        "mounts": mounts,
        "publish": [str(port) for port in ports],
        "limits": limits,
        "user": user,
        "workdir": None if workdir is None else os.fspath(workdir),
        "hostname": hostname,
        "labels": [[key, value] for key, value in (labels or {}).items()],
        "read_only": read_only,
        "restart": restart,
        "auto_remove": remove,
        "runtime": runtime,
    }
    if network is not None:
        request["network"] = network
    return Container(call("run", image=os.fspath(image), request=request, start=start))


def ps(*, all: bool = False) -> list[Container]:
    """Return the containers that run, or all of them, newest first."""
    return [Container(row) for row in call("rows", everything=all)]


def get(name: str) -> Container:
    """Return the container with this name or id. Raises ``CarboyError`` when there is none."""
    return Container(call("row", name=name))


def _split(command: Command) -> list[str]:
    if command is None:
        return []
    return shlex.split(command) if isinstance(command, str) else [os.fspath(word) for word in command]


def volume_texts(volumes: Mapping[str, str] | Sequence[str]) -> list[str]:
    """Return volumes in the form of ``--volume``."""
    if isinstance(volumes, Mapping):
        return [f"{os.fspath(source)}:{target}" for source, target in volumes.items()]
    return list(volumes)


def _stream(words: Sequence[str]) -> Iterator[bytes]:
    """Yield what a command of the command line prints on both outputs."""
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = spawn([*find_cli(), *words], env=dict(os.environ), fds={1: write, 2: write})
    finally:
        os.close(write)
    try:
        while chunk := os.read(read, 65_536):
            yield chunk
    finally:
        os.close(read)
        status = wait_for(pid)
    if status not in {0, 141}:
        raise CarboyError(f"`carboy {words[0]}` ended with status {status}")


def _stream_data(words: Sequence[str]) -> Iterator[bytes]:
    """Yield what a command writes to its output; what it says of a failure becomes an error at the end."""
    read, write = os.pipe2(os.O_CLOEXEC)
    said = os.memfd_create("carboy-errors", os.MFD_CLOEXEC)
    with open(read, "rb", buffering=0) as output, open(said, "rb") as errors:
        try:
            pid = spawn([*find_cli(), *words], env=dict(os.environ), fds={1: write, 2: said})
        finally:
            os.close(write)
        try:
            while chunk := output.read(2**20):
                yield chunk
        finally:
            output.close()
            status = wait_for(pid)
        errors.seek(0)
        _check(Result(status, b"", errors.read()))


def _check(result: Result) -> None:
    """Raise ``CarboyError`` unless a command ended well."""
    if result.exit_code:
        text = result.stderr.decode(errors="replace")
        brief, _, rest = text.removeprefix("error: ").partition("\n")
        details, _, hint = rest.rpartition("hint: ")
        raise CarboyError(brief, details=details.strip(), hint=hint.strip(), code=result.exit_code)


def _complete(words: Sequence[str], *, data: bytes) -> Result:
    from concurrent.futures import ThreadPoolExecutor

    stdin, out, err = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
    try:
        pid = spawn([*find_cli(), *words], env=dict(os.environ), fds={0: stdin[0], 1: out[1], 2: err[1]})
    finally:
        for fd in (stdin[0], out[1], err[1]):
            os.close(fd)
    with ThreadPoolExecutor(3) as pool, open(out[0], "rb") as stdout, open(err[0], "rb") as stderr:
        pool.submit(_feed, stdin[1], data)
        first, second = pool.submit(stdout.read), pool.submit(stderr.read)
        result = first.result(), second.result()
    status = wait_for(pid)
    if status in {125, 126, 127} and result[1].startswith(b"error: "):
        brief, _, rest = result[1].decode(errors="replace").removeprefix("error: ").partition("\n")
        raise CarboyError(brief, hint=rest.removeprefix("hint: ").strip(), code=status)
    return Result(status, *result)


def _feed(fd: int, data: bytes) -> None:
    try:
        with open(fd, "wb") as file:
            file.write(data)
    except BrokenPipeError:
        return
