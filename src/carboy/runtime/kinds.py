"""Which runtime makes a sandbox: ours, or another one by its OCI bundle. A plan says whose it is."""

from __future__ import annotations

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.base.home import Home
    from carboy.runtime.sandbox import Runtime, Sandbox

NATIVE = "native"
KINDS = (NATIVE, "runc", "crun", "runsc")


def check_kind(name: str) -> None:
    """Raise ``CarboyError`` (125) unless there is a runtime of that name."""
    if name not in KINDS:
        raise CarboyError(f"there is no runtime {name!r}", hint=f"use one of {', '.join(KINDS)}", code=125)


def runtime_of(name: str, home: Home) -> Runtime:
    """Return the runtime called ``name`` ("" is the native one). Raises ``CarboyError`` (125) when it is not here."""
    if name in {"", NATIVE}:
        from carboy.runtime.native.launch import NativeRuntime

        return NativeRuntime(home)
    check_kind(name)
    from carboy.runtime.oci.launch import OciRuntime

    return OciRuntime(home, name)


def launch(plan: dict[str, Any], child_fds: dict[int, int]) -> Sandbox:
    """Start the sandbox of a plan, whichever runtime's it is; it dies with this process. Raises ``CarboyError``."""
    if plan.get("runtime", NATIVE) == NATIVE:
        from carboy.runtime.native.launch import launch as launch_native

        return launch_native(plan, child_fds)
    from carboy.runtime.oci.launch import launch as launch_oci

    return launch_oci(plan, child_fds)


def plan_exec(plan: dict[str, Any], process: dict[str, Any]) -> dict[str, Any]:
    """Return the plan of one more process in the sandbox of ``plan``. Pure.

    ``process`` holds what differs from the sandbox's own: "args", and maybe "env" (added), "cwd", "user", "terminal", and "keep"
    (it outlives whoever asked for it).
    """
    own = plan["process"]
    kept = ("id", "idmap", "network", "deny_setgroups", "root_uid", "root_gid")
    other = ("runtime", "oci", "staging", "root") if plan.get("runtime", NATIVE) != NATIVE else ()
    return {
        **{name: plan[name] for name in (*kept, *other)},
        "keep": process.get("keep", False),
        "process": {
            **own,
            "args": list(process["args"]),
            "env": [*own["env"], *process.get("env", ())],
            "cwd": process.get("cwd") or own["cwd"],
            "user": process.get("user") or own["user"],
            "terminal": process.get("terminal", False),
        },
    }


def enter(plan: dict[str, Any], fds: dict[int, int]) -> int:
    """Start the process of :func:`plan_exec`'s plan, and return the pid of the program that stands between.

    ``fds``: 0, 1 and 2 for the process (/dev/null unless named), 4 the socket for its events, 5 a pidfd of the sandbox's
    first process. Raises ``CarboyError`` when it cannot be started.
    """
    if plan.get("runtime", NATIVE) == NATIVE:
        from carboy.runtime.native.launch import enter as enter_native

        return enter_native(plan, fds)
    from carboy.runtime.oci.launch import enter as enter_other

    return enter_other(plan, fds)
