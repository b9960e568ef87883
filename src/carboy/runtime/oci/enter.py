"""One more process in a container of another runtime: ``exec``.

Started like its native counterpart (``runtime.native.enter``): plan on descriptor 3, the way back on descriptor 4, a pidfd of the
container's first process on descriptor 5; and it talks in the same way. The runtime joins the container; this process waits.
"""

from __future__ import annotations

import json
import marshal
import os

from carboy.linux import process
from carboy.runtime.native.files import read_own
from carboy.runtime.native.report import Reporter, Step
from carboy.runtime.oci.life import (
    Commands,
    LauncherGoneError,
    RuntimeFailedError,
    hide_streams,
    make_private,
    report_failure,
    reset_signals,
)
from carboy.runtime.oci.stage import complete_process
from carboy.runtime.passwd import UnknownUserError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PLAN_FD, REPORT_FD, TARGET_FD = 3, 4, 5


def main() -> NoReturn:
    """Start the process of the plan in the container, wait for it, report, and exit with its status."""
    report = Reporter(REPORT_FD)
    status = 125
    process.close_from(TARGET_FD + 1)
    try:
        Step.name = "read the plan"
        process.set_name("carboy-exec")
        process.set_child_subreaper()
        reset_signals()
        with open(PLAN_FD, "rb") as file:
            plan: dict[str, Any] = marshal.loads(file.read())  # noqa: S302
        status = _run(plan, report)
        report.send("exit", status)
    except RuntimeFailedError as failure:
        status = report_failure(report, failure, kind=plan["runtime"], name=plan["process"]["args"][0])
    except LauncherGoneError:
        pass
    except UnknownUserError as error:
        report.send("error", "find the user", 0, str(error))
    except OSError as error:
        report.send("error", Step.name, error.errno or 0, error.strerror or str(error))
    except Exception as error:  # noqa: BLE001
        report.send("error", Step.name, 0, f"{type(error).__name__}: {error}")
    os._exit(status)


def _run(plan: dict[str, Any], report: Reporter) -> int:
    own = plan["process"]
    Step.name = "find the user"
    passwd, group = _read_files(plan)
    document = complete_process(own, passwd, group, deny_setgroups=plan["deny_setgroups"])
    Step.name = "make a mount namespace"
    make_private(plan["staging"])
    os.mkdir("root")  # runc starts itself in the folder where the container's root was mounted, and joins from there
    with open("process.json", "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(document, file, ensure_ascii=False)
    Step.name = f"run {plan['runtime']}"
    commands = Commands(plan["oci"], report, plan["staging"])
    console = commands.open_console() if own["terminal"] else []
    streams = {} if own["terminal"] else {0: 0, 1: 1, 2: 2}
    words = ["exec", "--process", f"{plan['staging']}/process.json", *console]
    commands.run(*words, "--detach", "--pid-file", f"{plan['staging']}/pid", plan["id"], fds=streams)
    hide_streams()
    # gVisor's is a ``runsc exec`` that stands for a process of its kernel: it passes signals on, and the status back.
    with open("pid", encoding="ascii") as file:
        pid = int(file.read())
    report.send("pid", pid)
    if console:
        commands.pass_console()
    report.send("started", pid)
    return commands.wait(pid, lambda number: os.kill(pid, number), keep=plan["keep"])


def _read_files(plan: dict[str, Any]) -> tuple[bytes, bytes]:
    """Return the container's passwd and group: by its first process's root, or by the layers when that is gVisor's."""
    if plan["runtime"] != "runsc":
        with open(f"/proc/self/fdinfo/{TARGET_FD}", encoding="ascii") as file:
            pid = next(line[4:].strip() for line in file if line.startswith("Pid:"))
        trees = [f"/proc/{pid}/root"]
    elif plan["root"]["kind"] == "directory":
        trees = [plan["root"]["path"]]
    else:
        trees = [f"{plan['root']['rw']}/upper", *reversed(plan["root"]["lower"])]
    return _find_file(trees, "/etc/passwd"), _find_file(trees, "/etc/group")


def _find_file(trees: list[str], path: str) -> bytes:
    for tree in trees:
        try:
            rootfd = os.open(tree, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            return read_own(rootfd, path)
        except FileNotFoundError:
            continue
        finally:
            os.close(rootfd)
    return b""
