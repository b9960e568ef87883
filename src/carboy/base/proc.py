"""The only place where processes start, each with a small fixed environment and no descriptor but the ones named."""

from __future__ import annotations

import fcntl
import os
import sys

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_ENV: dict[str, str] = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/",
}
_ABOVE_ALL_TARGETS = 64
_IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE and SIGXFSZ: what is ignored stays ignored across execve(2)


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    fds: Mapping[int, int] | None = None,
    new_session: bool = False,
    program: str | None = None,
) -> int:
    """Start ``argv`` (its first word is a path) and return its pid; the caller reaps it with :func:`wait`.

    ``program`` is the file that is executed when it is another one than the first word names.

    ``fds`` says which of this process's descriptors (values) the child has under which numbers (keys); 0, 1 and 2 are
    /dev/null unless named. Raises ``CarboyError`` when the program cannot be started.
    """
    wanted = dict(fds or {})
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    opened = [null]
    try:
        # Sources are moved above all targets first, so that no dup2 overwrites a descriptor still to be used.
        actions = []
        for target in sorted({0, 1, 2} | set(wanted)):
            source = fcntl.fcntl(wanted.get(target, null), fcntl.F_DUPFD_CLOEXEC, _ABOVE_ALL_TARGETS)
            opened.append(source)
            actions.append((os.POSIX_SPAWN_DUP2, source, target))
        return os.posix_spawn(
            program or argv[0],
            list(argv),
            dict(DEFAULT_ENV if env is None else env),
            file_actions=actions,
            setsid=new_session,
            setsigdef=_IGNORED_BY_PYTHON,
        )
    except OSError as error:
        raise CarboyError(f"{argv[0]} cannot be started", details=os.strerror(error.errno or 0)) from error
    finally:
        for fd in opened:
            os.close(fd)


def spawn_own(module: str, *, fds: Mapping[int, int], program: str | None = None) -> int:
    """Start ``main()`` of a module of carboy in an interpreter and a session of its own, and return its pid.

    ``python -I -S``: neither the caller's environment nor its site packages have a say. As :func:`spawn` otherwise.
    """
    room, _, name = module.rpartition(".")
    command = f"import sys; sys.path.insert(0, sys.argv[1]); from {room} import {name}; {name}.main()"
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    argv = [sys.executable, "-I", "-S", "-c", command, root]
    return spawn(argv, fds=fds, new_session=True, program=program)


class Piped:
    """A program that runs, and ``fd``, which reads what it writes to its descriptors ``outputs``; all else as :func:`spawn`.

    A context manager: at its end nobody listens any more, the program is waited for, and ``status`` is its exit status.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        outputs: Sequence[int] = (1,),
        fds: Mapping[int, int] | None = None,
    ) -> None:
        self.status = -1
        self.fd, write = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = spawn(argv, env=env, fds={**(fds or {}), **dict.fromkeys(outputs, write)})
        except BaseException:
            os.close(self.fd)
            raise
        finally:
            os.close(write)

    def __enter__(self) -> Piped:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        self.status = wait(self._pid)


def ask(
    argv: Sequence[str], question: bytes, *, env: Mapping[str, str], max_bytes: int, ends: tuple[int, int] = (0, 1)
) -> tuple[int, bytes]:
    """Start a program, give it the question, and return its exit status and what it answers, ``max_bytes`` of that at most.

    It reads the first of ``ends`` to its end, then writes to the second; its standard error is this process's own. One that
    ends without listening is no error: its status says why. Raises ``CarboyError`` when it cannot be started.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        program = Piped(argv, env=env, outputs=ends[1:], fds={2: 2, ends[0]: read})
    except BaseException:
        os.close(write)
        raise
    finally:
        os.close(read)
    with program:
        try:
            with open(write, "wb") as file:
                file.write(question)
        except BrokenPipeError:
            pass
        with open(program.fd, "rb", closefd=False) as file:
            answer = file.read(max_bytes)
    return program.status, answer


def wait(pid: int) -> int:
    """Reap a child and return its exit status, 128 + n when signal n ended it."""
    _, status = os.waitpid(pid, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
