"""Warm interpreters: a command begins behind its imports, as a fork of a process that has done them already.

Loading modules is most of what a short command costs, and each test starts several. A warm interpreter belongs to one
person and one set of modules; it loads them, and forks for each command, which then has a session, streams, a working
directory and an environment of its own. The fork is handed over: it is a child of the test's process, as any other.

What a fresh interpreter does by itself, the imports of a start above all, is tested by commands that are started cold:
all of the tier `single`, whatever is started and not called (``Carboy.start``), and the whole run with CARBOY_TEST_COLD=1.
"""

from __future__ import annotations

import ctypes
import json
import os
import socket
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PR_SET_CHILD_SUBREAPER = 36
MAX_REQUEST_BYTES = 100_000
# What an interpreter reads when it starts; a variable of such a name is for a fresh one.
READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ", "CARBOY_TEST_")

_SERVER = r"""
import atexit, gc, importlib, json, os, pkgutil, socket, sys

def load(names):
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError:  # what an extra brings, or an image
            continue
        for found in pkgutil.iter_modules(getattr(module, "__path__", ()), f"{name}."):
            if not found.name.endswith(("_step", "__main__", "runner")):
                load([found.name])

def fork_away(reply):
    # Return True in a grandchild, whose parent goes at once: it becomes a child of who asked for it.
    middle = os.fork()
    if middle:
        os.close(reply)
        os.waitpid(middle, 0)
        return False
    child = os.fork()
    if child:
        os.write(reply, b"%d" % child)
        os._exit(0)
    return True

def become(job, fds):
    os.setsid()
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    if job["argv"][0] != "-c":
        with open("/proc/self/comm", "w") as comm:
            comm.write(os.path.basename(job["argv"][0]))
    os.environ.clear()
    os.environ.update(job["environ"])
    os.chdir(job["folder"])
    sys.argv = job["argv"]

channel = socket.socket(fileno=int(sys.argv[1]))
sys.path[:] = [*json.loads(sys.argv[2]), *(path for path in sys.path if path)]
load(sys.argv[3:])
atexit._clear()  # what a module wants to be called at the end, though no command has used it
gc.collect()
gc.freeze()
while True:
    data, fds, _, _ = socket.recv_fds(channel, 1_000_000, 3)
    if not data:
        os._exit(0)
    answer, reply = os.pipe()
    if fork_away(reply):
        break
    for fd in fds:
        os.close(fd)
    # Ends when the grandchild has become what it is to be, and closes its end.
    said = b""
    while piece := os.read(answer, 100):
        said += piece
    os.close(answer)
    channel.send(said)
channel.close()
os.close(answer)
job = json.loads(data)
become(job, fds)
os.close(reply)
exec(compile(job["code"], "<warm>", "exec"), {"__name__": "__main__"})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a warm interpreter is: whose, which one, where it looks for modules first, and the packages that it loads."""

    python: str
    uid: int
    gid: int
    paths: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    isolated: bool = False


@dataclass(slots=True)
class Warm:
    """A warm interpreter at work."""

    process: subprocess.Popen[bytes]
    channel: socket.socket

    def fork(self, job: Mapping[str, Any], fds: Sequence[int]) -> int:
        """Return the number of a new child of this process."""
        socket.send_fds(self.channel, [json.dumps(job).encode()], fds)
        said = self.channel.recv(100)
        assert said, "the warm interpreter has ended"
        return int(said)


class Forked(subprocess.Popen):  # type: ignore[type-arg]
    """A process that a warm interpreter has made; everything else is as Popen has it."""

    def __init__(self, warm: Warm, args: Sequence[str], *, code: str, **options: Any) -> None:
        self._warm, self._code = warm, code
        super().__init__(args, **options)

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *rest) -> None:  # type: ignore[no-untyped-def, override]
        pipes = rest[3:9]  # behind startupinfo, creationflags and shell: both ends of each stream's pipe
        job = {"argv": list(args), "folder": str(cwd), "environ": env, "code": self._code}
        ours = (pipes[0], pipes[3], pipes[5])
        self.pid = self._warm.fork(job, [number if fd == -1 else fd for number, fd in enumerate(ours)])
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]


@dataclass(slots=True)
class WarmInterpreters:
    """The warm interpreters of this process, each made when it is first wanted."""

    made: dict[Kind, Warm] = field(default_factory=dict)

    def start(self, kind: Kind, args: Sequence[str], *, code: str, **options: Any) -> subprocess.Popen[Any]:
        """Start ``code`` with ``args`` as its command line; the options are Popen's, in a session of its own."""
        options.pop("start_new_session", None)
        return Forked(self._find(kind), args, code=code, **options)

    def pids(self) -> set[int]:
        """Return the interpreters themselves, which no test has started."""
        return {warm.process.pid for warm in self.made.values()}

    def close(self) -> None:
        """End all of them."""
        for warm in self.made.values():
            warm.channel.close()
            warm.process.wait(30)
        self.made.clear()

    def _find(self, kind: Kind) -> Warm:
        if kind not in self.made:
            become_subreaper()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            options: dict[str, Any] = {}
            if kind.uid != os.getuid():
                options = {"user": kind.uid, "group": kind.gid, "extra_groups": [kind.gid] if kind.isolated else []}
            command = [kind.python, *(["-I"] if kind.isolated else []), "-c", _SERVER, str(theirs.fileno())]
            environ = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
            with theirs:
                process = subprocess.Popen(
                    [*command, json.dumps(kind.paths), *kind.packages],
                    env=environ, cwd="/", stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[theirs.fileno()],
                    **options,
                )  # fmt: skip
            self.made[kind] = Warm(process, ours)
        return self.made[kind]


WARM = WarmInterpreters()


def become_subreaper() -> None:
    """Have processes that lose their parent become children of this process."""
    assert ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def is_warm(environ: Mapping[str, str], args: Sequence[str]) -> bool:
    """Return whether a command with this environment can begin behind its imports."""
    if os.environ.get("CARBOY_TEST_COLD") or sum(map(len, (*args, *environ, *environ.values()))) > MAX_REQUEST_BYTES:
        return False
    own = {key: value for key, value in environ.items() if (key, value) != ("LANG", "C.UTF-8")}
    return not any(key.startswith(READ_AT_START) for key in own)
