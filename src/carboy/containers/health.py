"""Whether a container is well: HEALTHCHECK, as Docker runs it. The rules are pure; the running is the keeper's ``exec``."""

from __future__ import annotations

import _socket
import marshal
import os
import time

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.containers.keeper import Keeper
    from carboy.runtime.loop import Loop

OUTPUT_BYTES = 4096
KEPT_RESULTS = 5


def plan_health(
    before: str, *, failures: int, exit_code: int, retries: int, since_start_s: float, start_period_s: float
) -> tuple[str, int]:
    """Return (health, failures in a row) after one check. Pure.

    A failure within the start period does not count while the container has not been healthy yet (Dockerfile
    reference, HEALTHCHECK).
    """
    if exit_code == 0:
        return "healthy", 0
    if before == "starting" and since_start_s < start_period_s:
        return before, failures
    failures += 1
    return ("unhealthy" if failures >= retries else before), failures


def plan_wait(
    health: str, *, interval_s: float, start_interval_s: float, since_start_s: float, start_period_s: float
) -> float:
    """Return how many seconds lie between one check and the next. Pure.

    A container that starts is asked at the start interval, until it has been healthy or the start period is over (Dockerfile
    reference, HEALTHCHECK). A start period of 0, the default, means that the interval alone counts.
    """
    return start_interval_s if health == "starting" and since_start_s < start_period_s else interval_s


class Health:
    """Runs the checks of one run of a container, from its start to :meth:`stop`.

    ``job``: "test" (argv), "interval_s", "timeout_s", "start_s" (start period), "start_interval_s",
    "retries".
    """

    def __init__(self, job: dict[str, Any], *, keeper: Keeper, loop: Loop) -> None:
        self._job = job
        self._keeper = keeper
        self._loop = loop
        self._begin_s = time.monotonic()
        self._stopped = False
        self._fds: list[int] = []
        self._socket: _socket.socket | None = None
        self._deadline: int | None = None
        self._output = b""
        self._exit_code: int | None = None
        self._began_at_s = 0.0
        keeper.change(health="starting", health_failures=0)
        self._timer: int | None = None
        self._wait()

    def stop(self) -> None:
        """End the checks: the container has ended."""
        self._stopped = True
        self._loop.cancel(self._timer)
        self._close()

    def _check(self) -> None:
        if self._keeper.state.status != "running":  # paused: nothing can be known
            self._wait()
            return
        self._output, self._exit_code, self._began_at_s = b"", None, time.time()
        try:
            self._start()
        except (CarboyError, OSError) as error:  # no process or descriptor is left: the container lives on
            self._output = str(error).encode()
            self._conclude(1)

    def _start(self) -> None:
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._socket = ours
        write = -1
        try:
            read, write = os.pipe2(os.O_CLOEXEC)
            self._fds = [read]
            self._keeper.run_inside({"args": self._job["test"]}, report=theirs.fileno(), fds={1: write, 2: write})
        finally:
            theirs.close()
            if write >= 0:
                os.close(write)
        self._loop.watch(read, self._read)
        self._loop.watch(ours.fileno(), self._receive)
        self._deadline = self._loop.call_after(self._job["timeout_s"], self._expire)

    def _read(self, fd: int) -> None:
        data = os.read(fd, 65_536)
        if not data:
            self._loop.forget(fd)
        self._output = (self._output + data)[:OUTPUT_BYTES]

    def _receive(self, _: int) -> None:
        assert self._socket is not None
        data = self._socket.recv(65_536)
        if data:
            event = marshal.loads(data)  # noqa: S302
            if event[0] == "exit":
                self._exit_code = event[1]
            elif event[0] in {"error", "command"}:
                self._output = (self._output + f"{event[-2]}: {event[-1]}".encode())[:OUTPUT_BYTES]
            return
        for fd in self._fds:  # what the check wrote before it ended
            os.set_blocking(fd, False)
            try:  # noqa: SIM105
                self._output = (self._output + os.read(fd, 65_536))[:OUTPUT_BYTES]
            except BlockingIOError:
                pass
        self._conclude(1 if self._exit_code is None else self._exit_code)

    def _expire(self) -> None:
        self._output = f"the health check took longer than {self._job['timeout_s']:g} s".encode()
        self._conclude(-1)

    def _conclude(self, exit_code: int) -> None:
        self._close()  # which ends a check that still runs
        if self._stopped:
            return
        state = self._keeper.state
        health, failures = plan_health(
            state.health,
            failures=state.health_failures,
            exit_code=exit_code,
            retries=self._job["retries"],
            since_start_s=time.monotonic() - self._begin_s,
            start_period_s=self._job["start_s"],
        )
        result = (self._began_at_s, time.time(), exit_code, self._output.decode(errors="replace"))
        log = (*state.health_log, result)[-KEPT_RESULTS:]
        self._keeper.change(health=health, health_failures=failures, health_log=log)
        if health != state.health:
            self._keeper.note("health_status", health=health)
        self._wait()

    def _wait(self) -> None:
        """Come back when it is time for the next check."""
        wait_s = plan_wait(
            self._keeper.state.health,
            interval_s=self._job["interval_s"],
            start_interval_s=self._job["start_interval_s"],
            since_start_s=time.monotonic() - self._begin_s,
            start_period_s=self._job["start_s"],
        )
        self._timer = self._loop.call_after(wait_s, self._check)

    def _close(self) -> None:
        self._loop.cancel(self._deadline)
        self._deadline = None
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        for fd in self._fds:
            self._loop.forget(fd)
            os.close(fd)
        self._fds = []
