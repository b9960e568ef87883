"""The process that keeps one detached container: started with it, gone with it.

``python -I -S`` with the job on descriptor 3 (marshal), a connection to whoever started it on descriptor 4, and the container's
lock, held, on descriptor 5; for one who is attached from the beginning its pipes are 6 (output), 7 (error output) and 8
(input). It imports little, polls nothing, and sleeps in poll(2) until something happens: its price is a few megabytes.

It stays in the caller's outer namespaces, so that it can let later commands in, restart the container, and write its log.
When it dies, the container dies (the stage program watches its socket), and the lock, which the kernel lets go of, says so.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import marshal
import os
import time

from carboy.containers.control import Connection
from carboy.containers.keeper import Keeper
from carboy.containers.log import LogWriter
from carboy.containers.output import Output, Reader, write_last
from carboy.containers.restart import plan_restart
from carboy.errors import CarboyError
from carboy.linux import process
from carboy.runtime.kinds import launch
from carboy.runtime.loop import Loop
from carboy.snapshots.snapshot import make_mountable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.containers.health import Health
    from carboy.runtime.sandbox import Event

KILLED = 128 + 9
JOB_FD, STARTER_FD, LOCK_FD, OUT_FD, ERR_FD, IN_FD = 3, 4, 5, 6, 7, 8


def main() -> None:
    """Keep the container of the job on descriptor 3 until it ends for good."""
    with open(JOB_FD, "rb") as file:
        job: dict[str, Any] = marshal.loads(file.read())  # noqa: S302
    process.close_from(IN_FD + 1)
    for fd in range(STARTER_FD, IN_FD + 1):
        try:
            os.set_inheritable(fd, False)
        except OSError:
            continue
    process.set_name("carboy-keep")
    process.set_command_line(f"carboy-keep {job['plan']['id'][:12]}")
    os.chdir("/")
    for number in (1, 2, 3):  # a terminal's: the container is not in its foreground
        _signal.signal(number, _signal.SIG_IGN)
    starter = Connection(_socket.socket(fileno=STARTER_FD))
    try:
        Supervisor(job, starter).run()
    except CarboyError as error:  # a port that is taken: nothing has been started yet
        starter.send(("refused", error.brief, error.hint))
    except Exception as error:
        # Standard error is /dev/null here: whoever started the container must hear of a defect of ours.
        starter.send(("error", "keep the container", 0, f"{type(error).__name__}: {error}"))
        raise


class Supervisor:
    """One container's keeper, over all its restarts."""

    def __init__(self, job: dict[str, Any], starter: Connection) -> None:
        self._job = job
        self._folder: str = job["folder"]
        self._loop = Loop()
        self._log = None
        if job["log_bytes"]:
            self._log = LogWriter(self._folder, max_bytes=job["log_bytes"], files=job["log_files"])
        self._output: Output | None = None
        self._readers: dict[Connection, Reader] = {}
        self._starter: Connection | None = starter
        self._keeper = Keeper(self._folder, job["plan"], image=job["image"], network=_open_network(job))
        self._keeper.loop = self._loop
        for verb, call in (("attach", self._attach), ("resize", self._resize), ("restart", self._change_restart)):
            self._keeper.serve(verb, call)
        self._health: Health | None = None
        self._failed = False
        self._failure: Event | None = None  # what whoever started it hears when all is over
        self._started = self._ended = self._over = False

    def run(self) -> None:
        """Keep the container to its last end, and clean up behind it."""
        restarts, delay_s = 0, 0.0
        while True:
            begin_s = time.monotonic()
            self._run_once()
            if self._failed:
                self._finish("created" if self._failure is not None else "exited")
                break
            delay_s = plan_restart(
                self._job["restart"],
                exit_code=self._keeper.state.exit_code,
                restarts=restarts,
                ran_s=time.monotonic() - begin_s,
                last_delay_s=delay_s,
                stopped=self._keeper.state.stopped,
            )
            self._finish("exited" if delay_s < 0 else "restarting")
            if delay_s < 0 or not self._wait(delay_s):
                break
            restarts += 1
            self._keeper.change(restarts=restarts)
        if self._log is not None:
            self._log.close()
        if self._job["auto_remove"]:
            self._remove()
        self._keeper.close()

    def _wait(self, delay_s: float) -> bool:
        """Wait for the next start, serving commands; returns False when a person stopped the container meanwhile."""
        due: list[bool] = []
        self._loop.call_after(delay_s, lambda: due.append(True))
        while not due and not self._keeper.state.stopped:
            self._loop.step()
        if self._keeper.state.stopped:
            self._keeper.change(status="exited")
        return not self._keeper.state.stopped

    def _run_once(self) -> None:
        """Run the container once; ``_failed`` says afterwards that its command was not executed, so that no policy helps."""
        self._started = self._ended = self._over = False
        make_mountable(self._folder)
        output = self._output = Output(self._loop, self._log)
        child = {} if self._job["tty"] else output.open_pipes(interactive=self._job["interactive"])
        if self._starter is not None and self._job["attached"]:
            self._adopt_starter()
        sandbox = launch(self._job["plan"], child)
        for fd in child.values():
            os.close(fd)

        def receive(_: int) -> None:
            event = sandbox.receive()
            if event is None:
                self._over = True
            else:
                self._take(event)

        self._loop.watch(sandbox.fileno(), receive)
        self._keeper.begin(sandbox, self._loop)
        while not self._over:
            self._loop.step()
        self._loop.forget(sandbox.fileno())
        if self._health is not None:
            self._health.stop()
        status = sandbox.wait()
        if self._started and not self._ended:
            self._keeper.take(("exit", KILLED))
            self._keeper.change(error="a process that holds the container was killed")
        output.close()
        if not self._started and not self._failed:
            self._fail(("error", "run the sandbox", 0, f"the stage program ended with status {status}"))

    def _finish(self, status: str) -> None:
        """Write down what the container does now, once, and before anybody hears of the end: they look at once."""
        self._keeper.end(status=status)
        if self._starter is not None and self._failure is not None:
            self._starter.send(self._failure)
            self._starter = None
        self._let_readers_go()

    def _take(self, event: Event) -> None:
        self._keeper.take(event)
        match event[0]:
            case "console":
                assert self._output is not None
                self._output.open_terminal(event[1])
                if self._job["size"]:
                    self._output.resize(*self._job["size"])
            case "exit":
                self._ended = True
            case "error" | "command":
                self._fail(event)
            case "started":
                if not self._failed:
                    self._tell_started(event)

    def _tell_started(self, event: Event) -> None:
        self._started = True
        if self._starter is not None:
            self._starter.send(("started", event[1]))
            if not self._job["attached"]:
                self._starter.close()
            self._starter = None
        if self._job["health"]:
            from carboy.containers.health import Health

            self._health = Health(self._job["health"], keeper=self._keeper, loop=self._loop)

    def _fail(self, event: Event) -> None:
        if self._started or self._failed:
            return
        self._failed = True
        code = event[1] if event[0] == "command" else 125
        self._keeper.change(exit_code=code)
        if self._starter is not None:
            self._failure = event

    # --- attached readers -----------------------------------------------------------------------------------------

    def _adopt_starter(self) -> None:
        assert self._starter is not None
        source = IN_FD if self._job["interactive"] else -1
        self._join(self._starter, stdout=OUT_FD, stderr=ERR_FD, source=source, ends_input=True)
        self._keeper.adopt(self._starter)

    def _join(self, connection: Connection, *, stdout: int, stderr: int, source: int, ends_input: bool) -> None:
        assert self._output is not None
        reader = Reader(source=source, stdout=stdout, stderr=stderr, ends_input=ends_input)
        self._readers[connection] = reader
        self._output.attach(reader)
        self._keeper.on_drop(connection, lambda: self._leave(connection))

    def _leave(self, connection: Connection) -> None:
        reader = self._readers.pop(connection, None)
        if reader is not None and self._output is not None:
            self._output.detach(reader)

    def _attach(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        (wants_input,) = values
        if self._output is None or self._keeper.state.status not in {"running", "paused"} or len(fds) < 2:
            for fd in fds:
                os.close(fd)
            connection.send(("refused", "the container is not running", "`carboy start` it first"))
            return False
        source = fds[2] if len(fds) > 2 else -1
        if source >= 0 and not wants_input:
            os.close(source)
            source = -1
        connection.send(("attached", self._job["tty"]))
        self._join(connection, stdout=fds[0], stderr=fds[1], source=source, ends_input=self._job["ends_input"])
        return True

    def _resize(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        del fds
        if self._output is not None:
            self._output.resize(*values)
        return connection in self._readers

    def _change_restart(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        del fds
        (self._job["restart"],) = values
        connection.send(("ok",))
        return False

    def _let_readers_go(self) -> None:
        """Tell all who are attached that it has ended, each when it has taken what was written."""
        for connection, reader in list(self._readers.items()):

            def say(connection: Connection = connection) -> None:
                connection.send(("ended", self._keeper.state.exit_code))

            if reader.held:
                write_last(reader.held, talk=connection.fileno(), say=say)
            else:
                say()
            self._leave(connection)
            self._keeper.drop(connection)

    def _remove(self) -> None:
        from carboy.containers.removal import remove_container

        remove_container(self._job["home"], self._job["plan"]["id"], name=None, lock=LOCK_FD, remove_anonymous=True)


def _open_network(job: dict[str, Any]) -> Any:
    if not job["network"]:
        return None
    from carboy.containers.connect import Connect

    return Connect(job["network"])
