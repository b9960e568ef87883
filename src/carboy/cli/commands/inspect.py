"""``carboy inspect``: containers, then images, then volumes, as JSON or by a format."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from carboy.base.home import open_own_home
from carboy.cli.options import Parser
from carboy.cli.render import printable, render_error
from carboy.cli.template import parse_template, render_template
from carboy.engine.containers.manage import open_view
from carboy.engine.context import Engine
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carboy.base.home import Home


def inspect(arguments: list[str]) -> int:
    """Show containers and images; those that there are not are said on the error output, and end with 1."""
    parser = Parser(
        "inspect [OPTIONS] NAME [NAME ...]", "Show all that is known of containers, images or volumes, as JSON."
    )
    parser.add_argument("-f", "--format", default="", metavar="FORMAT",
                        help="a path (.State.Status), {{.State.Status}}, or {{json .Config}}")  # fmt: skip
    parser.add_argument("--type", choices=["container", "image", "volume"], default="", help="look for these only")
    parser.add_argument("names", nargs="+", metavar="NAME")
    options = parser.parse_args(arguments)
    home = open_own_home(os.environ)
    engines: list[Engine] = []
    return print_described(options.names, lambda name: _describe(home, engines, name, options.type), options.format)


def print_described(names: Sequence[str], describe: Callable[[str], dict[str, Any]], form: str) -> int:
    """Print what there is of each name, as JSON or as ``--format`` says; then what is wrong, and return 1 if anything is."""
    template = None if form in {"", "json"} else parse_template(form)
    found: list[dict[str, Any]] = []
    errors: list[CarboyError] = []
    for name in names:
        try:
            found.append(describe(name))
        except CarboyError as error:
            errors.append(error)
    if template is None:
        print(json.dumps(found, indent=None if form else 2))
    else:
        for value in found:
            text = render_template(template, value)
            print(printable(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()
    print("".join(f"{render_error(problem)}\n" for problem in errors), end="", file=sys.stderr)
    return 1 if errors else 0


def _describe(home: Home, engines: list[Engine], name: str, kind: str) -> dict[str, Any]:
    """Return what a name stands for: a container first, as Docker looks."""
    hint = ""
    if kind == "volume":
        return _describe_volume(home, name)
    if kind != "image":
        from carboy.engine.containers.describe import describe_container

        try:
            return describe_container(open_view(home, name))
        except CarboyError as error:
            if kind == "container":
                raise
            hint = error.hint
    from carboy.engine.images import inspect_image

    if not engines:  # entering a tier costs time, so only where an image is wanted
        engines.append(Engine.open(os.environ))
    try:
        return inspect_image(engines[0], name)
    except CarboyError as error:
        if kind == "image":
            raise
        try:
            return _describe_volume(home, name)
        except CarboyError:
            near = hint if hint.startswith("did you mean") else error.hint
            raise CarboyError(f"there is no container, image or volume {name}", hint=near) from error


def _describe_volume(home: Home, name: str) -> dict[str, Any]:
    from carboy.engine.volumes import describe_volume, inspect_volume

    return describe_volume(inspect_volume(home, name))
