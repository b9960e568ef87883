"""``carboy container VERB``: Docker's long names of the verbs on containers, and ``prune``."""

from __future__ import annotations

import os

from carboy.cli.options import Parser
from carboy.errors import CarboyError

# name below `container`: (module below carboy.cli.commands, function)
COMMANDS = {
    "attach": ("inside", "attach"),
    "commit": ("files.commit", "commit"),
    "cp": ("files.copy", "cp"),
    "create": ("run", "create"),
    "diff": ("files.changes", "diff"),
    "exec": ("inside", "exec_"),
    "export": ("files.archive", "export"),
    "inspect": ("container", "inspect"),
    "kill": ("containers", "kill"),
    "list": ("containers", "ps"),
    "logs": ("containers", "logs"),
    "ls": ("containers", "ps"),
    "pause": ("containers", "pause"),
    "prune": ("container", "prune"),
    "ps": ("containers", "ps"),
    "rename": ("containers", "rename"),
    "restart": ("containers", "restart"),
    "rm": ("containers", "rm"),
    "run": ("run", "run"),
    "port": ("observe", "port"),
    "stats": ("observe", "stats"),
    "top": ("observe", "top"),
    "update": ("observe", "update"),
    "start": ("containers", "start"),
    "stop": ("containers", "stop"),
    "unpause": ("containers", "unpause"),
    "wait": ("containers", "wait"),
}


def container(words: list[str]) -> int:
    """Carry out one of the verbs on containers."""
    names = ", ".join(COMMANDS)
    if words[:1] in (["-h"], ["--help"]):
        print(f"Usage: carboy container VERB [OPTIONS]\n\nVerbs: {names}")
        return 0
    if not words or words[0] not in COMMANDS:
        raise CarboyError("say what to do with containers", details=f"there are: {names}", code=2)
    module, function = COMMANDS[words[0]]
    command = getattr(__import__(f"carboy.cli.commands.{module}", fromlist=[function]), function)
    status: int = command(words[1:])
    return status


def inspect(words: list[str]) -> int:
    """Show containers, and no images of the same name."""
    from carboy.cli.commands.inspect import inspect as inspect_any

    return inspect_any(["--type", "container", *words])


def prune(words: list[str]) -> int:
    """Remove every container that does not run, and print their names."""
    parser = Parser("container prune [OPTIONS]", "Remove every container that does not run, and what they wrote.")
    parser.add_argument(
        "-f", "--force", action="store_true", help="accepted for Docker's users; nothing is asked anyway"
    )
    parser.parse_args(words)
    from carboy.engine.containers.manage import prune_containers
    from carboy.engine.context import Engine

    for name in prune_containers(Engine.open(os.environ).home):
        print(name)
    return 0
