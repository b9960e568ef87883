"""``carboy volume create|ls|inspect|rm|prune``."""

from __future__ import annotations

import json
import os
import sys

from carboy.base.home import open_own_home
from carboy.cli.commands.containers import each, print_formatted
from carboy.cli.commands.inspect import print_described
from carboy.cli.options import Parser
from carboy.cli.render import render_size, render_table
from carboy.engine import volumes as use_case
from carboy.engine.context import Engine
from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.volumes.store import Volume

_USAGE = """Usage: carboy volume COMMAND

Folders that outlive containers: -v NAME:/PATH uses one, and makes it where there is none.

  create [NAME]     make a volume
  ls                list volumes
  inspect NAME...   show all that is known of volumes, as JSON
  rm NAME...        remove volumes that no container has
  prune             remove the unnamed volumes that no container has"""


def volume(words: list[str]) -> int:
    """Carry out one of the commands on volumes."""
    if words[:1] in (["-h"], ["--help"]):
        print(_USAGE)
        return 0
    if not words or words[0] not in COMMANDS:
        raise CarboyError("say what to do with volumes", details=_USAGE, code=2)
    return COMMANDS[words[0]](words[1:])


def create(words: list[str]) -> int:
    """Make a volume and print its name."""
    parser = Parser("volume create [OPTIONS] [NAME]", "Make a volume; without a name one that `volume prune` removes.")
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="a note of your own on it")
    parser.add_argument("-d", "--driver", default="local", choices=["local"], help="there is only local")
    parser.add_argument("name", nargs="?", default=None, metavar="NAME")
    options = parser.parse_args(words)
    labels = dict(label.partition("=")[::2] for label in options.label)
    if "" in labels:
        raise CarboyError("a label needs a name", hint="write --label NAME=VALUE", code=2)
    print(use_case.create_volume(Engine.open(os.environ).home, options.name, labels=labels).name)
    return 0


_HEADINGS = {
    "Driver": "DRIVER", "Name": "VOLUME NAME", "Mountpoint": "MOUNTPOINT", "Labels": "LABELS", "Scope": "SCOPE",
    "Links": "LINKS",
}  # fmt: skip


def _fields(item: Volume) -> dict[str, str]:
    """Return what a format may show of a volume, by Docker's names."""
    return {
        "Driver": "local",
        "Name": item.name,
        "Mountpoint": item.path,
        "Labels": ",".join(f"{key}={value}" for key, value in item.labels),
        "Scope": "local",
        "Links": str(len(item.users)),
    }


def list_(words: list[str]) -> int:
    """List volumes."""
    parser = Parser("volume ls [OPTIONS]", "List volumes.")
    parser.add_argument("-q", "--quiet", action="store_true", help="print names only")
    parser.add_argument("-f", "--filter", action="append", default=[], metavar="NAME=VALUE",
                        help="name, label, dangling (no container has it), driver")  # fmt: skip
    parser.add_argument(
        "--format", default="", help="json, table, or fields: {{.Name}}, 'table {{.Name}}\\t{{.Links}}'"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args(words)
    found = use_case.list_volumes(open_own_home(os.environ), options.filter)
    if options.quiet:
        print("".join(f"{item.name}\n" for item in found), end="")
    elif options.json:
        print(json.dumps([use_case.describe_volume(item) for item in found], indent=2))
    elif options.format not in {"", "table"}:
        print_formatted(options.format, [_fields(item) for item in found], _HEADINGS)
    else:
        print(render_table(("DRIVER", "VOLUME NAME"), [("local", item.name) for item in found]))
    return 0


def inspect(words: list[str]) -> int:
    """Show volumes; those that there are not are said on the error output, and end with 1."""
    parser = Parser("volume inspect [OPTIONS] NAME [NAME ...]", "Show all that is known of volumes, as JSON.")
    parser.add_argument("-f", "--format", default="", metavar="FORMAT",
                        help="a path (.Mountpoint), {{.Mountpoint}}, or {{json .Labels}}")  # fmt: skip
    parser.add_argument("names", nargs="+", metavar="NAME")
    options = parser.parse_args(words)
    home = open_own_home(os.environ)
    return print_described(
        options.names, lambda name: use_case.describe_volume(use_case.inspect_volume(home, name)), options.format
    )


def remove(words: list[str]) -> int:
    """Remove volumes and print their names; what was freed is said on the error output."""
    parser = Parser("volume rm [OPTIONS] NAME [NAME ...]", "Remove volumes that no container has, with all in them.")
    parser.add_argument("-f", "--force", action="store_true", help="one that is not there is fine")
    parser.add_argument("names", nargs="+", metavar="NAME")
    options = parser.parse_args(words)
    home = Engine.open(os.environ).home
    freed: list[int] = []
    status = each(options.names, lambda name: freed.append(use_case.remove_volume(home, name, force=options.force)))
    if freed:
        sys.stdout.flush()
        print(f"freed {render_size(sum(freed))}", file=sys.stderr)
    return status


def prune(words: list[str]) -> int:
    """Remove volumes that nobody has, and print their names."""
    parser = Parser("volume prune [OPTIONS]", "Remove the unnamed volumes that no container has, running or not.")
    parser.add_argument("-a", "--all", action="store_true", help="the named ones, too")
    parser.add_argument("--filter", action="append", default=[], metavar="NAME=VALUE", help="label, label!")
    parser.add_argument(
        "-f", "--force", action="store_true", help="accepted for Docker's users; nothing is asked anyway"
    )
    options = parser.parse_args(words)
    names, size_bytes = use_case.prune_volumes(Engine.open(os.environ).home, options.filter, everything=options.all)
    for name in names:
        print(name)
    sys.stdout.flush()
    print(f"freed {render_size(size_bytes)}: {len(names)} volumes", file=sys.stderr)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "create": create,
    "inspect": inspect,
    "list": list_,
    "ls": list_,
    "prune": prune,
    "remove": remove,
    "rm": remove,
}
