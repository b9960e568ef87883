"""The verbs that only look: ps, top, port, images, ls, version."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from carboy.base.home import open_own_home
from carboy.cli.commands.compose.project import Globals, check_services, open_project
from carboy.cli.commands.containers import render_status
from carboy.cli.options import Parser
from carboy.cli.render import printable, render_age, render_ports, render_size, render_table
from carboy.compose.planning.container import FILES_LABEL, NUMBER_LABEL, PROJECT_LABEL, SERVICE_LABEL

if TYPE_CHECKING:
    from carboy.engine.containers.manage import ContainerView

_STATUSES = ("created", "running", "paused", "restarting", "exited")


def _find(options: Globals, services: list[str]) -> list[ContainerView]:
    """Return the containers of the project's services, those of services that are gone as well where none is named."""
    from carboy.compose.execution.logs import find_views

    project = open_project(options)
    return find_views(open_own_home(os.environ), project.name, check_services(project, services))


def ps(options: Globals, words: list[str]) -> int:
    """List the containers of the project."""
    parser = Parser("compose ps [OPTIONS] [SERVICE ...]", "List the containers of services: those that run, or all.")
    parser.add_argument("-a", "--all", action="store_true", help="show those that have ended, too")
    parser.add_argument("-q", "--quiet", action="store_true", help="print ids only")
    parser.add_argument("--services", dest="names", action="store_true", help="print the names of services only")
    parser.add_argument("--status", choices=_STATUSES, action="append", default=[], help="only those that are so")
    parser.add_argument("--filter", default="", metavar="status=STATUS", help="as --status")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("--no-trunc", action="store_true", help="show whole commands")
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    given = parser.parse_args(words)
    wanted = [*given.status, *([given.filter.removeprefix("status=")] if given.filter else [])]
    views = [
        view
        for view in _find(options, given.services)
        if (view.state.status in wanted if wanted else given.all or view.running)
    ]
    if given.quiet:
        for view in views:
            print(view.id)
    elif given.names:
        for name in dict.fromkeys(_label(view, SERVICE_LABEL) for view in views):
            print(printable(name))
    elif given.json or given.format == "json":
        print(json.dumps([_describe(view) for view in views], indent=2))
    else:
        header = ("NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS")
        print(render_table(header, [_row(view, whole=given.no_trunc) for view in views]))
    return 0


def _label(view: ContainerView, name: str) -> str:
    return dict(view.config.labels).get(name, "")


def _image(view: ContainerView) -> str:
    return view.config.image.removeprefix("docker.io/library/").removeprefix("docker.io/").removesuffix(":latest")


def _row(view: ContainerView, *, whole: bool) -> tuple[str, ...]:
    command = " ".join(view.config.args)
    return (
        view.name,
        _image(view),
        command if whole or len(command) <= 24 else f"{command[:23]}…",
        _label(view, SERVICE_LABEL),
        render_age(time.time() - view.config.created_at_s),
        render_status(view),
        render_ports(view.state.ports),
    )


def _describe(view: ContainerView) -> dict[str, Any]:
    return {
        "ID": view.id,
        "Name": view.name,
        "Project": _label(view, PROJECT_LABEL),
        "Service": _label(view, SERVICE_LABEL),
        "Number": int(_label(view, NUMBER_LABEL) or 0),
        "Image": _image(view),
        "Command": list(view.config.args),
        "State": view.state.status,
        "Status": render_status(view),
        "Health": view.state.health,
        "ExitCode": view.state.exit_code,
        "Ports": list(view.state.ports),
    }


def top(options: Globals, words: list[str]) -> int:
    """Show the processes of the project's containers."""
    parser = Parser("compose top [SERVICE ...]", "Show the processes of services.")
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    given = parser.parse_args(words)
    from carboy.cli.commands.observe import render_clock
    from carboy.engine.containers.usage import list_processes

    rows = []
    for view in _find(options, given.services):
        if view.running:
            rows += [
                (view.name, str(row["pid"]), str(row["uid"]), render_clock(row["cpu_s"]), row["command"])
                for row in list_processes(view)
            ]
    print(render_table(("CONTAINER", "PID", "UID", "TIME", "COMMAND"), rows))
    return 0


def port(options: Globals, words: list[str]) -> int:
    """Show where a port of a service is published."""
    parser = Parser("compose port [OPTIONS] SERVICE PORT", "Show where a port of a service is published.")
    parser.add_argument("--protocol", choices=("tcp", "udp"), default="tcp", help="default: tcp")
    parser.add_argument("--index", type=int, default=1, metavar="N", help="which container of the service (default: 1)")
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("port", metavar="PORT")
    given = parser.parse_args(words)
    project = open_project(options)
    check_services(project, [given.service])
    from carboy.cli.commands.observe import port as show_port
    from carboy.compose.execution.logs import find_view

    view = find_view(open_own_home(os.environ), project.name, given.service, number=given.index)
    return show_port([view.id, f"{given.port.partition('/')[0]}/{given.protocol}"])


def images(options: Globals, words: list[str]) -> int:
    """List the images that the project's containers were made of."""
    parser = Parser("compose images [OPTIONS] [SERVICE ...]", "List the images that containers were made of.")
    parser.add_argument("-q", "--quiet", action="store_true", help="print digests only")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    given = parser.parse_args(words)
    views = _find(options, given.services)
    from carboy.engine.context import Engine
    from carboy.engine.images import list_images

    sizes = {str(row.digest): row.size_bytes for row in list_images(Engine.open(os.environ))}
    if given.quiet:
        for digest in dict.fromkeys(view.config.manifest for view in views):
            print(digest)
    elif given.json:
        rows = [
            {
                "Container": view.name,
                "Image": _image(view),
                "Digest": view.config.manifest,
                "Size": sizes.get(view.config.manifest),
            }
            for view in views
        ]
        print(json.dumps(rows, indent=2))
    else:
        table = []
        for view in views:
            size = sizes.get(view.config.manifest)  # none, when its name has gone to a newer one
            digest = view.config.manifest.partition(":")[2][:12]
            table.append((view.name, _image(view), digest, "" if size is None else render_size(size)))
        print(render_table(("CONTAINER", "IMAGE", "DIGEST", "SIZE"), table))
    return 0


def ls(options: Globals, words: list[str]) -> int:
    """List projects: those with running containers, or all."""
    parser = Parser("compose ls [OPTIONS]", "List the projects that have running containers, or all.")
    parser.add_argument("-a", "--all", action="store_true", help="show those whose containers have ended, too")
    parser.add_argument("-q", "--quiet", action="store_true", help="print names only")
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("--format", choices=("table", "json"), default="table", help="default: table")
    given = parser.parse_args(words)
    del options
    from carboy.engine.containers.manage import list_containers

    projects: dict[str, list[ContainerView]] = {}
    for view in list_containers(open_own_home(os.environ), everything=True):
        if name := _label(view, PROJECT_LABEL):
            projects.setdefault(name, []).append(view)
    rows = []
    for name, views in sorted(projects.items()):
        if given.all or any(view.running for view in views):
            counts: dict[str, int] = {}
            for view in views:
                counts[view.state.status] = counts.get(view.state.status, 0) + 1
            status = ", ".join(f"{word}({count})" for word, count in sorted(counts.items()))
            rows.append((name, status, _label(views[0], FILES_LABEL)))
    if given.quiet:
        for row in rows:
            print(printable(row[0]))
    elif given.json or given.format == "json":
        print(json.dumps([{"Name": n, "Status": s, "ConfigFiles": f} for n, s, f in rows], indent=2))
    else:
        print(render_table(("NAME", "STATUS", "CONFIG FILES"), rows))
    return 0


def version(options: Globals, words: list[str]) -> int:
    """Show carboy's version."""
    parser = Parser("compose version [OPTIONS]", "Show carboy's version.")
    parser.add_argument("--short", action="store_true", help="the number only")
    parser.add_argument("-f", "--format", choices=("pretty", "json"), default="pretty", help="default: pretty")
    given = parser.parse_args(words)
    del options
    from carboy import __version__

    if given.format == "json":
        print(json.dumps({"version": __version__}))
    else:
        print(
            __version__ if given.short else f"carboy {__version__}, compose files as the Compose specification has them"
        )
    return 0
