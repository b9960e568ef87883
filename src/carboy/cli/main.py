"""The entry point: find the verb, import only what that verb needs, turn errors into text and an exit status.

Exit statuses: 0 done, 1 failed, 2 wrong usage, 125 to 127 and the program's own for ``run``, 130 after Ctrl-C.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    Command = Callable[[list[str]], int]

# verb: (module below carboy.cli.commands, function, one line of help). The order is that of the help page.
VERBS: dict[str, tuple[str, str, str]] = {
    "run": ("run", "run", "Run a folder or an image in a sandbox"),
    "create": ("run", "create", "Make a container without starting it"),
    "start": ("containers", "start", "Start containers"),
    "ps": ("containers", "ps", "List containers"),
    "logs": ("containers", "logs", "Show what a container wrote"),
    "exec": ("inside", "exec_", "Run one more program in a running container"),
    "attach": ("inside", "attach", "Connect the terminal to a running container"),
    "stop": ("containers", "stop", "Stop containers"),
    "restart": ("containers", "restart", "Stop containers and start them again"),
    "kill": ("containers", "kill", "Send a signal to containers"),
    "pause": ("containers", "pause", "Hold containers where they are"),
    "unpause": ("containers", "unpause", "Let paused containers go on"),
    "wait": ("containers", "wait", "Wait for containers to end and print their exit statuses"),
    "rm": ("containers", "rm", "Remove containers"),
    "rename": ("containers", "rename", "Give a container another name"),
    "cp": ("files.copy", "cp", "Copy files between a container and the host"),
    "diff": ("files.changes", "diff", "Show which files a container has added, changed and deleted"),
    "commit": ("files.commit", "commit", "Make an image of what a container has now"),
    "export": ("files.archive", "export", "Write all files of a container as an archive"),
    "inspect": ("inspect", "inspect", "Show all that is known of containers, images or volumes, as JSON"),
    "top": ("observe", "top", "Show the processes of a container"),
    "stats": ("observe", "stats", "Show what containers use, every second"),
    "port": ("observe", "port", "Show where a container's ports are published"),
    "update": ("observe", "update", "Change the limits or the restart policy of containers"),
    "events": ("observe", "events", "Show what happened, and what happens now"),
    "runs": ("runs.ledger", "runs", "Recorded runs: list, show, diff, rm"),
    "rerun": ("runs.rerun", "rerun", "Run a recorded run again, and compare what comes of it"),
    "notebook": ("runs.notebook", "notebook", "JupyterLab on a folder's files, in its environment"),
    "rstudio": ("runs.notebook", "rstudio", "RStudio Server, where a distribution has it"),
    "container": ("container", "container", "The verbs on containers, in one place: ls, prune, rm and the others"),
    "volume": ("files.volume", "volume", "Folders that outlive containers: create, ls, inspect, rm, prune"),
    "network": ("network", "network", "Networks on which containers find each other: create, ls, connect, ..."),
    "build": ("builds.again", "build", "Build an image from a folder"),
    "builder": ("builds.builder", "builder", "What builds keep: du, prune"),
    "plan": ("build", "plan", "Show the steps that a build would take, and why; runs nothing"),
    "detect": ("builds.detect", "detect", "Show what a folder's files ask for, and which of them count"),
    "lock": ("builds.lock", "lock", "Write down the versions and hashes of all packages of a folder"),
    "outdated": ("builds.lock", "outdated", "Show which locked packages have newer versions"),
    "fetch": ("builds.bundle", "fetch", "Write all that a build needs into one file, for a build without a network"),
    "compose": ("compose.verbs", "compose", "Projects of several containers, as compose files describe them"),
    "images": ("images", "images", "List images"),
    "login": ("registry.login", "login", "Log in to a registry"),
    "logout": ("registry.login", "logout", "Forget the login to a registry"),
    "pull": ("registry.transfer", "pull", "Fetch images from a registry"),
    "push": ("registry.transfer", "push", "Send images to a registry"),
    "save": ("files.images", "save", "Write images as an archive that other tools load, too"),
    "load": ("files.images", "load", "Take images from an archive"),
    "import": ("files.archive", "import_", "Make an image of an archive of all its files"),
    "tag": ("images", "tag", "Give an image another name"),
    "rmi": ("images", "rmi", "Remove images"),
    "verify": ("builds.verify", "verify", "Build an image again, elsewhere and otherwise, and compare"),
    "sbom": ("builds.inventory", "sbom", "Show which packages are in an image"),
    "provenance": ("builds.inventory", "provenance", "Show how an image was made, or the lock of its packages"),
    "licenses": ("builds.inventory", "licenses", "Show the licences of an image's packages"),
    "bootstrap": ("bootstrap", "bootstrap", "Make a base image from a signed distribution archive"),
    "doctor": ("doctor", "doctor", "Say what this machine can do, and what is missing"),
    "system": ("system", "system", "Disk use, clean-up and checks of the store"),
    "version": ("version", "version", "Show carboy's version"),
}


# Net allocations before Python looks for cycles: more than a start makes, few enough for a build to stay small.
GC_THRESHOLD = 50_000


def program() -> NoReturn:
    """Be the program ``carboy``: carry out the process's own command line and exit with its status.

    Taking the interpreter apart costs milliseconds (tens after a build) and gives back what the kernel takes anyway, so
    that it is left out when nothing waits for it: no other thread and no function of ``atexit``.
    """
    gc.set_threshold(GC_THRESHOLD)
    status = main()
    threading = sys.modules.get("threading")
    if (threading is not None and threading.active_count() > 1) or atexit._ncallbacks():
        sys.exit(status)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line (default: the process's own) and return its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()
        return status
    except CarboyError as error:
        return _fail(error)
    except KeyboardInterrupt:
        print("carboy: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`carboy images | head`). Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC), sys.stdout.fileno())
        return 141
    except Exception as error:
        translated = _translate(error)
        if translated is None:
            raise
        return _fail(translated)


def _translate(error: Exception) -> CarboyError | None:
    """Return the error of a disk or a database that no use case expected as one for people; None for a defect of ours."""
    if isinstance(error, OSError):
        from carboy.base.fs import translate_os_errors

        try:
            with translate_os_errors("carry out the command"):
                raise error
        except CarboyError as translated:
            return translated
    if type(error).__module__ == "sqlite3":
        from carboy.store.database import translate

        return translate(error)  # type: ignore[arg-type]  # known by its module, so that no start imports it
    return None


def _dispatch(arguments: list[str]) -> int:
    if not arguments:
        print(_overview())
        return 2
    if arguments[0] in {"-h", "--help", "help"}:
        print(_overview())
        return 0
    if arguments[0] in {"-V", "--version"}:
        arguments[0] = "version"
    verb, rest = arguments[0], arguments[1:]
    if verb not in VERBS:
        return _unknown(verb)
    module, function, _ = VERBS[verb]
    # `importlib` is a module in Python that most interpreters have not loaded; this is what it comes down to.
    command: Command = getattr(__import__(f"carboy.cli.commands.{module}", fromlist=[function]), function)
    return command(rest)


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [
        "Usage: carboy VERB [OPTIONS] [ARGUMENTS]",
        "",
        "Containers for data science, without root or a daemon.",
        "",
    ]
    lines += [f"  {verb:<{width}}  {text}" for verb, (_, _, text) in VERBS.items()]
    lines += ["", "`carboy VERB --help` shows the options of a verb. Start with: carboy run FOLDER"]
    return "\n".join(lines)


def _unknown(verb: str) -> int:
    from difflib import get_close_matches

    near = get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean `carboy {near[0]}`?" if near else "`carboy --help` lists the verbs"
    raise CarboyError(f"there is no verb {verb!r}", hint=hint, code=2)


def _fail(error: CarboyError) -> int:
    from carboy.cli.render import render_error

    sys.stdout.flush()
    print(render_error(error), file=sys.stderr)
    return error.code


if __name__ == "__main__":
    program()
