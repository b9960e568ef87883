"""What the process that keeps a container does beside its input and output: its state on disk, and answers to commands.

Used by the supervisor of a detached container and by the foreground of ``run --rm``, which is its own supervisor.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import time

from carboy.containers import control
from carboy.containers.events import write_container_event
from carboy.containers.record import ContainerState, read_boot, write_record
from carboy.runtime.attend import Watcher, explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from carboy.containers.control import Connection
    from carboy.containers.network import NetworkKeeper
    from carboy.runtime.loop import Loop
    from carboy.runtime.sandbox import Event, Sandbox

SIGKILL = 9
BREATHER_S = 0.2
MANUAL_STOPS = (2, 3, 9, 15)  # a person who sends one of these does not want the container back


class Keeper(Watcher):
    """Keeps one container: writes ``state.json`` and serves ``control`` while it runs.

    ``plan`` is the sandbox's plan, ``image`` the image's name. ``network`` takes the network namespace and lets it go
    (``NetworkKeeper``). ``brief``: the container is removed when it ends, so its end is not written down.
    """

    def __init__(
        self,
        folder: str,
        plan: dict[str, Any],
        *,
        image: str = "",
        network: NetworkKeeper | None = None,
        brief: bool = False,
    ) -> None:
        self.folder = folder
        self.image = image
        self._brief = brief
        self.plan = plan
        self.state = ContainerState(status="created", supervisor=os.getpid(), boot=read_boot())
        self.loop: Loop | None = None
        self._network = network
        self._sandbox: Sandbox | None = None
        self._pidfd = -1
        self._started = self._stopping = False
        self._listener = control.listen(folder)
        self._unsent: list[int] = []  # signals for a process that is not there yet
        self._waiting: list[Connection] = []
        self._open: dict[Connection, Callable[[], object] | None] = {}
        self._verbs: dict[str, Callable[[Connection, tuple[Any, ...], list[int]], bool]] = {
            "exec": self._exec, "signal": self._signal, "stop": self._stop, "wait": self._wait,
            "pause": self._pause, "resume": self._resume, "state": self._tell, "observe": self._observe,
            "update": self._update, "follow": self._follow, "root": self._root, "hold": self._hold, "network": self._reconnect,
        }  # fmt: skip

    def serve(self, verb: str, call: Callable[[Connection, tuple[Any, ...], list[int]], bool]) -> None:
        """Answer one more verb: ``call`` returns whether the connection stays open."""
        self._verbs[verb] = call

    # --- the life of the sandbox --------------------------------------------------------------------------------

    def begin(self, sandbox: Sandbox, loop: Loop) -> None:
        """Stand beside a sandbox that is on its way."""
        self._sandbox = sandbox
        self.state = self.state.replace(error="", oom_killed=False)
        self.loop = loop
        loop.watch(self._listener.fileno(), self._accept)

    def take(self, event: Event) -> None:
        """Follow the sandbox's life."""
        match event[0]:
            case "netns":
                self._connect(event[2])
            case "pid":
                try:  # noqa: SIM105
                    self._pidfd = os.pidfd_open(event[1])
                except ProcessLookupError:
                    pass  # it has ended already, as this process will hear next
                self.change(
                    status="running",
                    pid=event[1],
                    started_at_s=time.time(),
                    finished_at_s=0.0,
                )
                unsent, self._unsent = self._unsent, []
                for number in unsent:
                    self._send_signal(number)
            case "error" | "command":
                self.state = self.state.replace(error=str(explain(event)))
            case "started" if not self.state.error:
                self._started = True
                self.note("start")
            case "oom":
                self.state = self.state.replace(oom_killed=True)
                self.note("oom")
            case "exit":
                self.state = self.state.replace(exit_code=event[1])

    def _connect(self, netns: int) -> None:
        assert self._sandbox is not None
        problem = ""
        try:
            if self._network is not None:
                ports, addresses = self._network.attach(netns)
                self.change(ports=ports, addresses=addresses)
        except Exception as error:  # noqa: BLE001  told to the stage program, which reports it as its own
            words = (str(error) or type(error).__name__, getattr(error, "details", ""))
            problem = ": ".join(text for text in words if text)
        finally:
            os.close(netns)
        self._sandbox.proceed(problem)

    def end(self, *, status: str = "exited") -> None:
        """The sandbox has ended: let go of what it had, and tell those who wait. ``status`` is what the container does now."""
        if self._network is not None:
            self._network.detach()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1
        self._sandbox = None
        self._unsent.clear()
        self.change(status=status, pid=0, finished_at_s=time.time(), ports=(), addresses=())
        if self._started:
            self._started = False
            self.note("die", exitCode=str(self.state.exit_code))
        if self._stopping:
            self._stopping = False
            self.note("stop")
        for connection in list(self._waiting):
            connection.send(("ended", self.state.exit_code))
            self.drop(connection)
        self._waiting.clear()

    def close(self) -> None:
        """Serve no more."""
        if self.loop is not None:
            self.loop.forget(self._listener.fileno())
        self._listener.close()
        for connection in list(self._open):
            self.drop(connection)
        try:  # noqa: SIM105
            os.unlink(f"{self.folder}/control")
        except FileNotFoundError:
            pass

    def change(self, **fields: Any) -> None:
        """Change the state, here and on disk. A disk that is full costs the note, not the container."""
        self.state = self.state.replace(**fields)
        if self._brief and self._sandbox is None:
            return
        try:
            write_record(self.folder, "state", self.state)
        except OSError:
            return

    def note(self, action: str, **attributes: str) -> None:
        """Write down among the home's events what happened to the container."""
        write_container_event(self.folder, action, image=self.image, **attributes)

    # --- commands -----------------------------------------------------------------------------------------------

    def _accept(self, fd: int) -> None:
        try:
            connection = control.accept(self._listener)
        except OSError:  # no descriptors are left: those who wait to be accepted must not keep this process busy
            assert self.loop is not None
            self.loop.forget(fd)
            self.loop.call_after(BREATHER_S, self._listen)
            return
        if connection is not None:
            self.adopt(connection)

    def _listen(self) -> None:
        if self.loop is not None and self._listener.fileno() >= 0:
            self.loop.watch(self._listener.fileno(), self._accept)

    def adopt(self, connection: Connection) -> None:
        """Serve a connection that is open already."""
        assert self.loop is not None
        self._open[connection] = None
        self.loop.watch(connection.fileno(), lambda _: self._receive(connection))

    def _receive(self, connection: Connection) -> None:
        message, fds = connection.receive()
        stays = False
        try:
            if message is not None:
                verb = self._verbs.get(message[0])
                if verb is None:
                    connection.send(("refused", f"this container does not answer to {message[0]}", ""))
                else:
                    stays = verb(connection, message[1:], fds)
        except Exception as error:  # noqa: BLE001  one request that fails must not end the container (row 61)
            _close(fds)
            connection.send(("refused", *_explain(error)))
        finally:
            if message is None:
                _close(fds)
            # One that is attached stays, whatever it asks for beside.
            if message is None or not (stays or self._open.get(connection)):
                self.drop(connection)

    def on_drop(self, connection: Connection, call: Callable[[], object]) -> None:
        """Call ``call()`` when the connection goes, from whichever end."""
        self._open[connection] = call

    def drop(self, connection: Connection) -> None:
        """Close a connection; one that is closed is fine."""
        if connection not in self._open:
            return
        call = self._open.pop(connection)
        if connection in self._waiting:
            self._waiting.remove(connection)
        if self.loop is not None:
            self.loop.forget(connection.fileno())
        connection.close()
        if call is not None:
            call()

    def _refuse(self, connection: Connection, fds: list[int]) -> bool:
        """Refuse what needs a running container; returns whether that was so."""
        if self._pidfd >= 0 and self.state.status == "running":
            return False
        _close(fds)
        paused = self.state.status == "paused"
        hint = "`carboy unpause` it first" if paused else "`carboy start` it first"
        connection.send(("refused", f"the container is {'paused' if paused else 'not running'}", hint))
        return True

    def _exec(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        if self._refuse(connection, fds):
            return False
        (process,) = values
        if len(fds) != 3:
            _close(fds)
            connection.send(("refused", "descriptors are missing: too many files are open", "try again"))
            return False
        words = " ".join(process["args"])
        self.run_inside(
            process,
            report=connection.fileno(),
            fds=dict(enumerate(fds)),
            ended=lambda status: self.note("exec_die", command=words, exitCode=str(status)),
        )
        self.note("exec_create", command=words)  # meanwhile; that it ended is noted after this in any case
        _close(fds)
        return False  # the program that stands between has a copy, and talks from here on

    def run_inside(
        self,
        process: dict[str, Any],
        *,
        report: int,
        fds: dict[int, int],
        ended: Callable[[int], object] = lambda _: None,
    ) -> None:
        """Start a process in the sandbox, beside its own: ``process`` holds what differs from that one's plan.

        Its events go to the socket ``report``, its exit status to ``ended``. With "keep" it outlives whoever asked for it.
        """
        assert self.loop is not None
        from carboy.runtime.kinds import enter, plan_exec

        child = enter(plan_exec(self.plan, process), {**fds, 4: report, 5: self._pidfd})
        self._reap(child, ended)

    def _reap(self, child: int, ended: Callable[[int], object]) -> None:
        """Wait for a child by events, and hand its exit status on."""
        assert self.loop is not None

        def reap(fd: int) -> None:
            assert self.loop is not None
            self.loop.forget(fd)
            os.close(fd)
            _, status = os.waitpid(child, 0)
            ended(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))

        self.loop.watch(os.pidfd_open(child), reap)

    def _signal(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        del fds
        (number,) = values
        if self._sandbox is None:
            connection.send(("refused", "the container is not running", "`carboy start` it first"))
            return False
        if number in MANUAL_STOPS:
            self.change(stopped=True)
        if number == SIGKILL and self.state.status == "paused":
            self._set_frozen(False)
        self._send_signal(number)
        self.note("kill", signal=str(number))
        connection.send(("ok",))
        return False

    def _stop(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        del fds
        number, timeout_s = values
        self.change(stopped=True)
        if self._sandbox is None:
            connection.send(("ended", self.state.exit_code))
            return False
        assert self.loop is not None
        self._waiting.append(connection)
        if self.state.status == "paused":
            self._set_frozen(False)
        sandbox = self._sandbox
        self._stopping = True
        self._send_signal(number)
        self.note("kill", signal=str(number))
        if timeout_s >= 0:
            self.loop.call_after(timeout_s, lambda: self._send_signal(SIGKILL) if self._sandbox is sandbox else None)
        return True

    def _send_signal(self, number: int) -> None:
        """Send a signal to the container's process, or as soon as there is one."""
        if self._sandbox is None or self._sandbox.pid is None:
            self._unsent.append(number)
        else:
            self._sandbox.signal(number)

    def _follow(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        """Answer by the end of the talk: when nobody keeps the container any more, whatever runs there meanwhile."""
        del connection, values, fds
        return True

    def _wait(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        del values, fds
        if self._sandbox is None:
            connection.send(("ended", self.state.exit_code))
            return False
        self._waiting.append(connection)
        return True

    def _tell(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        del values, fds
        connection.send(("ok", self.state.encode()))
        return False

    def _observe(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        """Let a child answer what the container does: it may look where the caller may not, and what it needs goes with it."""
        del values
        if self.state.status != "paused" and self._refuse(connection, fds):
            return False
        child = os.fork()
        if child == 0:
            try:
                _keep_only(connection)
                from carboy.containers.watch.usage import serve

                shares_network = self.plan["network"] == "host"
                serve(connection, self.plan["id"], pid=self.state.pid, shares_network=shares_network)
            finally:
                os._exit(0)
        self._reap(child, lambda _: None)
        return False

    def _root(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        """Hand out a descriptor of the container's /: who asks may be in another user namespace, and may not look."""
        del values
        # Before its command runs, the first process may still have the host's root.
        if not self._started or self._pidfd < 0:
            _close(fds)
            connection.send(("refused", "the container is not running", "`carboy start` it first"))
            return False
        root = os.open(f"/proc/{self.state.pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _signal.pidfd_send_signal(self._pidfd, 0)  # the number was still its own
            connection.send(("ok",), [root])
        finally:
            os.close(root)
        return False

    def _update(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        """Change the limits, now and for the next start, or neither."""
        if self.state.status != "paused" and self._refuse(connection, fds):
            return False
        from carboy.containers.update import change_limits
        from carboy.errors import CarboyError

        before, after = values
        try:
            change_limits(self.plan, before, after, pid=self.state.pid)
        except CarboyError as error:
            connection.send(("refused", error.brief, "\n".join(text for text in (error.details, error.hint) if text)))
        except OSError as error:
            connection.send(("refused", "the limits cannot be changed", error.strerror or str(error)))
        else:
            self.note("update")
            connection.send(("ok",))
        return False

    def _reconnect(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        """Put the container on other networks than those that it is on."""
        if self.state.status != "paused" and self._refuse(connection, fds):
            return False
        from carboy.containers.network import reconnect

        private, own = values
        addresses = reconnect(
            self.plan, self._network, (private, own), pid=self.state.pid, pidfd=self._pidfd, folder=self.folder
        )
        self.change(addresses=addresses)
        connection.send(("ok",))
        return False

    def _pause(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        del values
        if not self._refuse(connection, fds):
            self._answer_frozen(connection, True)
        return False

    def _resume(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        del values, fds
        if self.state.status != "paused":
            connection.send(("refused", "the container is not paused", ""))
        else:
            self._answer_frozen(connection, False)
        return False

    def _hold(self, connection: Connection, values: tuple[Any, ...], fds: list[int]) -> bool:
        """Pause the container until whoever asks goes away, in whatever way."""
        del values
        if self._refuse(connection, fds):
            return False
        problem = self._set_frozen(True)
        connection.send(("refused", *problem) if problem else ("ok",))
        if problem is None:
            self.on_drop(connection, self._let_go)
        return problem is None

    def _let_go(self) -> None:
        if self._pidfd >= 0 and self.state.status == "paused":
            self._set_frozen(False)

    def _answer_frozen(self, connection: Connection, frozen: bool) -> None:
        problem = self._set_frozen(frozen)
        if not problem:
            self.note("pause" if frozen else "unpause")
        connection.send(("refused", *problem) if problem else ("ok",))

    def _set_frozen(self, frozen: bool) -> tuple[str, str] | None:
        """Stop or continue all processes; returns (brief, hint) when that cannot be done here."""
        from carboy.errors import CarboyError
        from carboy.runtime.native.cgroups import live

        try:
            (live.freeze if frozen else live.thaw)(self.plan["id"], pid=self.state.pid)
        except CarboyError as error:
            return error.brief, error.hint
        self.change(status="paused" if frozen else "running")
        return None


def _close(fds: list[int]) -> None:
    """Close what came with a request, once."""
    for fd in fds:
        os.close(fd)
    fds.clear()


def _explain(error: Exception) -> tuple[str, str]:
    """Return the (brief, hint) of what went wrong with a request."""
    from carboy.errors import CarboyError

    if isinstance(error, CarboyError):
        return error.brief, error.hint
    if isinstance(error, OSError):
        return f"that cannot be done now: {error.strerror or error}", "try again, or see what the machine is short of"
    return f"that request cannot be answered: {type(error).__name__}: {error}", ""


def _keep_only(connection: Connection) -> None:
    """In a child of the keeper: let go of all that is the keeper's (the lock above all), and end when it ends."""
    from carboy.linux import process

    process.set_parent_death_signal(SIGKILL)
    process.set_name("carboy-observe")
    null = os.open(os.devnull, os.O_RDWR)
    talk = os.dup(connection.detach())
    for fd, target in ((talk, 3), (null, 0), (null, 1), (null, 2)):
        os.dup2(fd, target)
    process.close_from(4)
    connection.adopt(3)
