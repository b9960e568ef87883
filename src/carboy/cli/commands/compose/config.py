"""``carboy compose config``: the file as it is understood."""

from __future__ import annotations

import json
from dataclasses import replace

from carboy.cli.commands.compose.project import Globals, check_services, open_project
from carboy.cli.options import Parser
from carboy.cli.render import printable
from carboy.compose.describe import describe_project
from carboy.compose.document.emit import render_yaml
from carboy.compose.planning.container import image_name, service_container
from carboy.compose.planning.graph import select_services, start_order
from carboy.errors import CarboyError


def config(options: Globals, words: list[str]) -> int:
    """Print the merged project with every short form made long. No value of a secret is in it."""
    parser = Parser(
        "compose config [OPTIONS] [SERVICE ...]", "Show the file as it is understood, or what is wrong with it."
    )
    parser.add_argument("--format", choices=("yaml", "json"), default="yaml", help="default: yaml")
    parser.add_argument("-q", "--quiet", action="store_true", help="only say what is wrong")
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write it to a file")
    parser.add_argument("--hash", default="", metavar="SERVICE", help="show a service's hash (*: of all)")
    shown = parser.add_mutually_exclusive_group()
    for name in ("services", "volumes", "networks", "images", "profiles"):
        shown.add_argument(f"--{name}", action="store_true", dest=f"show_{name}", help=f"show the names of {name} only")
    parser.add_argument("services", nargs="*", metavar="SERVICE")
    given = parser.parse_args(words)
    project = open_project(options)
    services = select_services(project, check_services(project, given.services))
    start_order(project)  # a circle is wrong though nothing is started
    if given.show_profiles:
        names = [profile for service in project.services for profile in service.profiles]
    elif given.show_volumes:
        names = [volume.key for volume in project.volumes]
    elif given.show_networks:
        names = [network.key for network in project.networks]
    elif given.show_images:
        names = [image_name(project, service) for service in services]
    elif given.show_services:
        names = [service.name for service in services]
    elif given.hash:
        wanted = [item for item in services if given.hash == "*" or item.name in given.hash.split(",")]
        names = [f"{item.name} {service_container(project, item, 1).config_hash}" for item in wanted]
    else:
        described = describe_project(replace(project, services=services), services)
        text = render_yaml(described) if given.format == "yaml" else json.dumps(described, indent=2) + "\n"
        return _write(text, given.output, quiet=given.quiet)
    for name in sorted(set(names)) if not given.hash else names:
        print(printable(name))
    return 0


def _write(text: str, output: str, *, quiet: bool) -> int:
    if output:
        try:
            with open(output, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise CarboyError(f"the file {output} cannot be written", details=str(error)) from error
    elif not quiet:
        print(text, end="")
    return 0
