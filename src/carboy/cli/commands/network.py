"""``carboy network VERB``: networks that somebody makes, and who is on them."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from carboy.base.filters import has_label, parse_filters, passes
from carboy.base.home import open_own_home
from carboy.cli.commands.containers import SHORT_ID, each, print_formatted
from carboy.cli.commands.inspect import print_described
from carboy.cli.options import Parser
from carboy.cli.render import render_table
from carboy.engine.containers.describe import render_time
from carboy.engine.containers.manage import list_containers, open_view
from carboy.engine.context import Engine
from carboy.engine.networks import (
    NetworkRequest,
    NetworkView,
    connect,
    create,
    describe_view,
    disconnect,
    find_view,
    list_views,
    prune,
    remove,
)
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

USAGE = """Usage: carboy network VERB [OPTIONS]

Networks on which containers find each other by name. `none`, `host` and `private` are built in; making others needs root.

  create      make a network
  ls          list networks
  inspect     show all that is known of networks, as JSON
  rm          remove networks that no running container is on
  connect     put a container on a network
  disconnect  take a container off a network
  prune       remove the networks that no container names"""


def network(words: list[str]) -> int:
    """Carry out one of the verbs on networks."""
    if words[:1] in (["-h"], ["--help"]):
        print(USAGE)
        return 0
    if not words or words[0] not in COMMANDS:
        raise CarboyError("say what to do with networks", details=f"there are: {', '.join(COMMANDS)}", code=2)
    return COMMANDS[words[0]](words[1:])


def _create(words: list[str]) -> int:
    parser = Parser("network create [OPTIONS] NETWORK", "Make a network on which containers find each other by name.")
    parser.add_argument("-d", "--driver", default="bridge", metavar="DRIVER", help="bridge (there is no other)")
    parser.add_argument("--subnet", metavar="NETWORK", help="its addresses: 10.5.0.0/24 (default: ones that are free)")
    parser.add_argument("--gateway", default="", metavar="IP", help="the subnet's first address, which it is anyway")
    parser.add_argument("--internal", action="store_true", help="let nothing out of it, questions for names neither")
    parser.add_argument("--ipv6", action="store_true", help="give IPv6 addresses, too")
    parser.add_argument("--label", action="append", default=[], metavar="NAME=VALUE", help="note something about it")
    parser.add_argument("name", metavar="NETWORK")
    options = parser.parse_args(words)
    request = NetworkRequest(
        name=options.name,
        driver=options.driver,
        subnet=options.subnet,
        gateway=options.gateway,
        internal=options.internal,
        ipv6=options.ipv6,
        labels=tuple((key, value) for key, _, value in (text.partition("=") for text in options.label)),
    )
    print(create(Engine.open(os.environ), request).name)
    return 0


def _ls(words: list[str]) -> int:
    parser = Parser("network ls [OPTIONS]", "List networks: the built-in ones, and those that were made.")
    parser.add_argument("-q", "--quiet", action="store_true", help="print ids only")
    parser.add_argument("-f", "--filter", action="append", default=[], metavar="NAME=VALUE",
                        help=", ".join(FILTERS))  # fmt: skip
    parser.add_argument("--format", default="", help="json, table, or fields: {{.Name}}, 'table {{.ID}}\\t{{.Driver}}'")
    parser.add_argument("--no-trunc", action="store_true", help="show whole ids")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args(words)
    views = filter_networks(list_views(open_own_home(os.environ)), options.filter)
    if options.quiet:
        for view in views:
            print(view.id if options.no_trunc else view.id[:SHORT_ID])
    elif options.json:
        print(json.dumps([describe_row(view) for view in views], indent=2))
    elif options.format not in {"", "table"}:
        print_formatted(options.format, [_fields(view, whole=options.no_trunc) for view in views], _HEADINGS)
    else:
        header = ("NETWORK ID", "NAME", "DRIVER", "SUBNET", "NOTES")
        print(render_table(header, [_row(view, whole=options.no_trunc) for view in views]))
    return 0


def _row(view: NetworkView, *, whole: bool) -> tuple[str, ...]:
    record = view.record
    notes = ["built in"] if record is None else []
    if record is not None:
        notes += ["internal"] * record.is_internal + ["IPv6"] * record.has_ipv6
    return (
        view.id if whole else view.id[:SHORT_ID],
        view.name,
        view.driver,
        record.subnet if record else "",
        ", ".join(notes),
    )


def describe_row(view: NetworkView) -> dict[str, Any]:
    """Return what ``network ls --json`` shows of a network."""
    record = view.record
    return {
        "Id": view.id,
        "Name": view.name,
        "Driver": view.driver,
        "Scope": "local",
        "Subnet": record.subnet if record else "",
        "Internal": bool(record and record.is_internal),
        "EnableIPv6": bool(record and record.has_ipv6),
        "Created": render_time(record.created_s if record else 0),
        "Labels": view.labels,
    }


_HEADINGS = {
    "ID": "NETWORK ID", "Name": "NAME", "Driver": "DRIVER", "Scope": "SCOPE", "IPv6": "IPV6", "Internal": "INTERNAL",
    "Labels": "LABELS", "CreatedAt": "CREATED AT", "Subnet": "SUBNET",
}  # fmt: skip


def _fields(view: NetworkView, *, whole: bool) -> dict[str, str]:
    """Return what a format may show of a network, by Docker's names."""
    row = describe_row(view)
    return {
        "ID": view.id if whole else view.id[:SHORT_ID],
        "Name": view.name,
        "Driver": view.driver,
        "Scope": row["Scope"],
        "IPv6": str(row["EnableIPv6"]).lower(),
        "Internal": str(row["Internal"]).lower(),
        "Labels": ",".join(f"{key}={value}" for key, value in view.labels.items()),
        "CreatedAt": row["Created"],
        "Subnet": row["Subnet"],
    }


FILTERS: dict[str, Callable[[NetworkView, str], bool]] = {
    "name": lambda view, value: value in view.name,
    "id": lambda view, value: view.id.startswith(value),
    "driver": lambda view, value: view.driver == value,
    "scope": lambda _, value: value == "local",
    "type": lambda view, value: value == ("custom" if view.record else "builtin"),
    "label": lambda view, value: has_label(view.labels.items(), value),
}
_PRUNE_FILTERS: dict[str, Callable[[NetworkView, str], bool]] = {
    "label": FILTERS["label"],
    "label!": lambda view, value: not has_label(view.labels.items(), value),
}


def filter_networks(views: Sequence[NetworkView], filters: Sequence[str]) -> list[NetworkView]:
    """Return the networks that pass. Raises ``CarboyError`` (2)."""
    wanted = parse_filters(filters, FILTERS)
    return [view for view in views if passes(view, wanted, FILTERS)]


def _inspect(words: list[str]) -> int:
    parser = Parser("network inspect [OPTIONS] NETWORK [NETWORK ...]", "Show all that is known of networks, as JSON.")
    parser.add_argument("-f", "--format", default="", metavar="FORMAT", help="{{.Name}}, or {{json .Containers}}")
    parser.add_argument("names", nargs="+", metavar="NETWORK")
    options = parser.parse_args(words)
    home = open_own_home(os.environ)
    running = list_containers(home)
    return print_described(options.names, lambda name: describe_view(find_view(home, name), running), options.format)


def _rm(words: list[str]) -> int:
    parser = Parser("network rm [OPTIONS] NETWORK [NETWORK ...]", "Remove networks that no running container is on.")
    parser.add_argument("-f", "--force", action="store_true", help="one that is not there is fine")
    parser.add_argument("names", nargs="+", metavar="NETWORK")
    options = parser.parse_args(words)
    engine = Engine.open(os.environ)
    names = options.names
    if options.force:
        names = [name for name in names if _is_there(engine, name)]
    return each(names, lambda name: remove(engine, name))


def _is_there(engine: Engine, name: str) -> bool:
    try:
        find_view(engine.home, name)
    except CarboyError:
        return False
    return True


def _connect(words: list[str]) -> int:
    parser = Parser(
        "network connect [OPTIONS] NETWORK CONTAINER",
        "Put a container on one more network: at once when it runs, and at every start from now on. One that was started "
        "without a network, and one of gVisor's, must not run.",
    )
    parser.add_argument("--alias", action="append", default=[], metavar="NAME", help="one more name of it there")
    parser.add_argument("--ip", default="", metavar="IP", help="the address to have there")
    parser.add_argument("network", metavar="NETWORK")
    parser.add_argument("container", metavar="CONTAINER")
    options = parser.parse_args(words)
    engine = Engine.open(os.environ)
    connect(engine, options.network, open_view(engine.home, options.container), aliases=options.alias, ip=options.ip)
    return 0


def _disconnect(words: list[str]) -> int:
    parser = Parser(
        "network disconnect [OPTIONS] NETWORK CONTAINER",
        "Take a container off a network: at once when it runs, and for every start from now on.",
    )
    parser.add_argument("-f", "--force", action="store_true", help="accepted for Docker's users")
    parser.add_argument("network", metavar="NETWORK")
    parser.add_argument("container", metavar="CONTAINER")
    options = parser.parse_args(words)
    engine = Engine.open(os.environ)
    disconnect(engine, options.network, open_view(engine.home, options.container))
    return 0


def _prune(words: list[str]) -> int:
    parser = Parser("network prune [OPTIONS]", "Remove the networks that no container names, running or not.")
    parser.add_argument(
        "-f", "--force", action="store_true", help="accepted for Docker's users; nothing is asked anyway"
    )
    parser.add_argument("--filter", action="append", default=[], metavar="label=NAME[=VALUE]",
                        help="remove only those that have the label; label!= those that do not")  # fmt: skip
    options = parser.parse_args(words)
    wanted = parse_filters(options.filter, _PRUNE_FILTERS)
    for name in prune(Engine.open(os.environ), keep=lambda view: not passes(view, wanted, _PRUNE_FILTERS)):
        print(name)
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "create": _create, "ls": _ls, "list": _ls, "inspect": _inspect, "rm": _rm, "remove": _rm, "connect": _connect,
    "disconnect": _disconnect, "prune": _prune,
}  # fmt: skip
