"""One more process in a sandbox that runs already: ``exec``, and the checks of a container's health.

Started like the stage program (plan on descriptor 3, the way back on descriptor 4), with a pidfd of the sandbox's first process
on descriptor 5: a number could by now be another process's. It joins the control group, then all namespaces at once
(setns(2) with a pidfd), forks because a pid namespace takes children only, and becomes, in that child, what the sandbox's own
process became: same capabilities, same filter, same order (``start``).

Before the first namespace is entered this process cannot be traced and holds no descriptor but the named ones
(CVE-2016-9962); after it nothing is imported, because imports would look into the image (CVE-2019-14271).
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import marshal
import os
import select

from carboy.linux import namespaces, process
from carboy.runtime.native import cgroup, start
from carboy.runtime.native.inside import forbid_imports
from carboy.runtime.native.report import Reporter, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PLAN_FD, REPORT_FD, TARGET_FD = 3, 4, 5
SIGKILL = 9
_ALL_BUT_NETWORK = (
    namespaces.CLONE_NEWUSER | namespaces.CLONE_NEWNS | namespaces.CLONE_NEWPID | namespaces.CLONE_NEWIPC
    | namespaces.CLONE_NEWUTS | namespaces.CLONE_NEWCGROUP
)  # fmt: skip


def main() -> NoReturn:
    """Start the process of the plan in the sandbox, wait for it, report, and exit with its status."""
    report = Reporter(REPORT_FD)
    status = 125
    process.close_from(TARGET_FD + 1)
    try:
        Step.name = "read the plan"
        process.set_dumpable(False)
        process.set_name("carboy-exec")
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        with open(PLAN_FD, "rb") as file:
            plan: dict[str, Any] = marshal.loads(file.read())  # noqa: S302
        status = _run(plan, report)
        report.send("exit", status)
    except OSError as error:
        report.send("error", Step.name, error.errno or 0, error.strerror or str(error))
    except Exception as error:  # noqa: BLE001
        report.send("error", Step.name, 0, f"{type(error).__name__}: {error}")
    os._exit(status)


def _run(plan: dict[str, Any], report: Reporter) -> int:
    Step.name = "join the control group"
    cgroup.join(plan["id"], TARGET_FD)
    Step.name = "set the limits of the process"
    start.set_privileged(plan["process"])
    Step.name = "enter the container"
    network = 0 if plan["network"] == "host" else namespaces.CLONE_NEWNET
    namespaces.setns(TARGET_FD, _ALL_BUT_NETWORK | network)
    forbid_imports()
    os.close(TARGET_FD)
    if not plan["deny_setgroups"]:
        os.setgroups([])
    os.setresgid(*[plan["root_gid"]] * 3)
    os.setresuid(*[plan["root_uid"]] * 3)
    process.set_dumpable(False)
    console = None
    if plan["process"]["terminal"]:
        Step.name = "make a terminal"
        console = start.open_console(report)
    Step.name = "start the command"
    executed, held = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        start.execute(plan["process"], console=console, report=report)
    for fd in (0, 1, 2, held, *(() if console is None else (console,))):
        os.close(fd)
    report.send("pid", child)
    os.read(executed, 1)
    os.close(executed)
    report.send("started", child)
    return _wait(child, report, keep=plan["keep"])


def _wait(child: int, report: Reporter, *, keep: bool) -> int:
    """Pass on the signals that the caller sends, and return the exit status of ``child`` (128 + n after signal n).

    A caller that goes away takes the process with it, unless ``keep``. This process must not end before its child: the kernel
    would give the child to a process of the outer namespace, and the container could not end before that one reaps it
    (zap_pid_ns_processes() in kernel/pid_namespace.c).
    """
    ended = os.pidfd_open(child)
    caller = report.socket.fileno()
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.register(caller, select.POLLIN)
    while not any(fd == ended for fd, _ in poll.poll()):
        try:
            message = report.socket.recv(64)
        except ConnectionResetError:  # the caller left without having read all that it was told
            message = b""
        if message:
            os.kill(child, int(message))
            continue
        poll.unregister(caller)
        if not keep:
            os.kill(child, SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
