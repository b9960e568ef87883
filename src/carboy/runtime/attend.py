"""Standing beside a sandbox: its events, the caller's signals and the bytes that pass, until it ends."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os

from carboy.runtime.errors import SandboxError
from carboy.runtime.loop import Loop
from carboy.runtime.passing import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.runtime.passing import Passing
    from carboy.runtime.sandbox import Event, Sandbox

FORWARDED = (1, 2, 3, 10, 12, 15)  # HUP INT QUIT USR1 USR2 TERM
SIGWINCH, SIGKILL = 28, 9
_HINTS = {
    "make a user namespace": "this machine may forbid user namespaces; `carboy doctor` says what to change",
    "mount /proc": "an outer container hides parts of /proc; start it with an unmasked /proc, or use another machine",
    "make the root file system": "`carboy doctor` says whether overlay mounts work here",
}
# ENOEXEC says no more than that the kernel knows no way to start the file.
_NOT_RUN = (
    "it is for another processor (`carboy inspect IMAGE` says which), or a script whose first line names no interpreter"
)


def explain(event: Event) -> SandboxError:
    """Return the error that an ("error", ...) or ("command", ...) event stands for."""
    if event[0] == "command":
        _, code, name, reason = event
        hint = _NOT_RUN if reason == os.strerror(8) else ""
        return SandboxError(f"run {name!r}", reason, hint=hint, code=code)
    _, operation, code, reason = event
    text = reason if not code or os.strerror(code) in reason else f"{reason}: {os.strerror(code)}"
    return SandboxError(operation, text, hint=_HINTS.get(operation, ""))


class Watcher:
    """What else a caller of :func:`attend` does while the sandbox runs; this one does nothing."""

    def begin(self, sandbox: Sandbox, loop: Loop) -> None:
        """Called once the sandbox is on its way."""

    def take(self, event: Event) -> None:
        """Called with every event, before it is acted upon; ("netns", pid, fd) is the watcher's to answer and to close."""

    def end(self) -> None:
        """Called when the sandbox has ended, however it did."""


def attend(
    launch: Callable[[], Sandbox],
    passing: Passing,
    *,
    watcher: Watcher | None = None,
    stop: int | None = None,
    is_ours: bool = True,
) -> int:
    """Launch a sandbox, stay with it to its end, and return the exit status of its process (128 + n after signal n).

    Signals that reach this process meanwhile are passed on, which only its first thread can do; with ``stop``, a
    descriptor, none are caught, and the sandbox is killed when that becomes readable. An exception that comes meanwhile
    kills it, too, where it ``is_ours``: one that somebody else keeps goes on as that one sees fit. Raises ``SandboxError``:
    125 when the sandbox cannot be made as asked, 126 or 127 for its command.
    """
    signals, restore = _catch_signals() if stop is None else (-1, lambda: None)
    try:
        attention = _Attention(launch(), passing, watcher or Watcher(), signals if stop is None else stop)
        attention.can_signal = stop is None
        attention.is_ours = is_ours
        passing.close_child_ends()
        status = attention.run()
    finally:
        restore()
    passing.drain()
    if attention.error is not None:
        raise attention.error
    if attention.status is None:
        raise SandboxError("run the sandbox", f"the stage program ended with status {status}")
    return attention.status


class _Attention:
    """One sandbox that is attended to."""

    def __init__(self, sandbox: Sandbox, passing: Passing, watcher: Watcher, signals: int) -> None:
        self._sandbox = sandbox
        self._passing = passing
        self._watcher = watcher
        self._signals = signals
        self._pending: list[int] = []
        self._over = False
        self.can_signal = self.is_ours = True
        self.error: SandboxError | None = None
        self.status: int | None = None

    def run(self) -> int:
        loop = Loop()
        loop.watch(self._sandbox.fileno(), self._receive)
        loop.watch(self._signals, self._forward if self.can_signal else self._stop)
        self._passing.register(loop)
        try:
            self._watcher.begin(self._sandbox, loop)
            while not self._over:
                loop.step()
        except BaseException:
            if self.is_ours:
                self._kill()
            raise
        finally:
            status = self._sandbox.wait()
            self._watcher.end()
        return status

    def _stop(self, fd: int) -> None:
        del fd
        self._kill()
        self._over = True

    def _kill(self) -> None:
        """End the sandbox as soon as it can be reached: its first process takes all others along."""
        while self._sandbox.pid is None and self._sandbox.receive() is not None:
            pass
        self._sandbox.signal(SIGKILL)

    def _receive(self, _: int) -> None:
        event = self._sandbox.receive()
        if event is None:
            self._over = True
            return
        self._watcher.take(event)
        match event[0]:
            case "pid":
                for signal in self._pending:
                    self._sandbox.signal(signal)
            case "console":
                self._passing.attach(Terminal(event[1], self._passing.stdio))
            case "exit":
                self.status = event[1]
            case "error" | "command":
                self.error = self.error or explain(event)

    def _forward(self, fd: int) -> None:
        for signal in os.read(fd, 64):
            if signal == SIGWINCH:  # the terminal's size, not the process's business
                self._passing.resize()
            elif self._sandbox.pid is None:
                self._pending.append(signal)
            else:
                self._sandbox.signal(signal)


def _catch_signals() -> tuple[int, Callable[[], None]]:
    """Turn the signals to pass on into bytes on a pipe; returns the pipe and a function that undoes it all."""
    read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    before_fd = _signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    before = {number: _signal.signal(number, lambda *_: None) for number in (*FORWARDED, SIGWINCH)}

    def restore() -> None:
        for number, handler in before.items():
            _signal.signal(number, _signal.SIG_DFL if handler is None else handler)
        _signal.set_wakeup_fd(before_fd)
        os.close(read)
        os.close(write)

    return read, restore
