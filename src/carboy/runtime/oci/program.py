"""The runtimes as programs: where they are, how they are called, and what they say when they fail.

Sources: runc(8), crun(1), ``runsc flags``; github.com/opencontainers/runtime-tools docs/command-line-interface.md.
"""

from __future__ import annotations

import json
import os

from carboy.base.proc import DEFAULT_ENV
from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

KINDS = ("runc", "crun", "runsc")
MAX_LOG_BYTES = 2**20
MAX_WORDS = 1000
# The folders where programs are that the whole machine trusts: never the caller's PATH, never a path in an image.
FOLDERS = tuple(DEFAULT_ENV["PATH"].split(":"))


def find_program(kind: str, folders: Sequence[str] = FOLDERS) -> str:
    """Return the path of a runtime's program: a file of root's that nobody else may write. Raises ``CarboyError`` (125)."""
    if kind not in KINDS:
        raise CarboyError(
            f"there is no runtime {kind!r}", hint=f"use native, {', '.join(KINDS[:-1])} or {KINDS[-1]}", code=125
        )
    distrusted = ""
    for folder in folders:
        path = f"{folder}/{kind}"
        try:
            status = os.stat(path)
        except OSError:
            continue
        if status.st_mode & 0o170000 != 0o100000 or not status.st_mode & 0o111:
            continue
        if status.st_uid in {0, 65534} and not status.st_mode & 0o022:  # 65534: root, seen from a user namespace
            return path
        distrusted = f"{path} is not used: others than root may change it"
    raise CarboyError(
        f"the runtime {kind} is not on this machine",
        details=distrusted,
        hint=f"sudo apt-get install {kind}; or use the native runtime, which needs nothing",
        code=125,
    )


def plan_flags(program: dict[str, Any], *, log: str) -> list[str]:
    """Return the words before a command: program, state folder, log, and what the kind needs. Pure.

    ``program`` has "kind", "path", "state" (the folder it keeps its notes in), "network" (gVisor's: none, sandbox or host),
    "net_raw" (whether raw sockets were asked for) and "own" (whether the container has a control group: as root only).
    """
    words = [program["path"], "--root", program["state"], "--log", log, "--log-format", "json"]
    match program["kind"]:
        case "runsc":
            # Filters are loaded into its own kernel, and what is written goes to the container's writable layer.
            words += ["--network", program["network"], "--oci-seccomp", "--overlay2", "none"]
            if program["net_raw"]:
                words.append("--net-raw")
            if not program["own"]:
                words += ["--rootless", "--ignore-cgroups"]
        case "runc" if not program["own"]:
            words += ["--rootless", "true"]
        case "crun" if not program["own"]:
            words += ["--cgroup-manager", "disabled"]
    return words


def read_failure(log: str) -> str:
    """Return the runtime's own words for its last error, from its log; empty when it said nothing."""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_LOG_BYTES)
    except OSError:
        return ""
    return parse_failure(text)


def parse_failure(text: str) -> str:
    """Return the message of the last error in a log of JSON documents, with or without line breaks between. Pure."""
    decoder = json.JSONDecoder()
    words, start = "", 0
    while (start := text.find("{", start)) >= 0:
        try:
            entry, start = decoder.raw_decode(text, start)
        except ValueError:
            start += 1
            continue
        if isinstance(entry, dict) and entry.get("level") in {"error", "fatal"}:
            words = str(entry.get("msg", ""))[:MAX_WORDS]
    return words


def find_status(words: str) -> int:
    """Return the exit status that Docker gives for a runtime's error: 127, 126, or 125 for all that is not the command's.

    Pure. The words are those of runc 1.1, crun 1.8 and gVisor 20221219.
    """
    markers = ('exec: "', "executable file", "open executable", "finding executable", "failed to load")
    about_command = any(marker in words for marker in markers)
    if not about_command:
        return 125
    if any(part in words for part in ("no such file or directory", "not found", "No such file")):
        return 127
    denied = ("permission denied", "exec format error", "is a directory", "Permission denied", "Exec format error")
    return 126 if any(part in words for part in denied) else 125
