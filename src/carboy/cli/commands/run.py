"""``carboy run``: the words after FOLDER or IMAGE are the program's, as Docker's users expect."""

from __future__ import annotations

import os
import sys

from carboy.engine.context import Engine
from carboy.engine.run import RunRequest, run_image
from carboy.errors import CarboyError

_HELP = """Usage: carboy run [OPTIONS] FOLDER|IMAGE [--] [COMMAND] [ARGUMENTS]

Run a program in a sandbox of its own, and end with its exit status.
A FOLDER is built first, when something in it has changed.

  -e, --env NAME[=VALUE]   set a variable (without VALUE: take the caller's)
  -w, --workdir DIR        the directory to start in
  -u, --user USER[:GROUP]  the user to run as
  -i, --interactive        pass standard input on
  -t, --tty                give the program a terminal
      --entrypoint PROGRAM replace the image's entry point
      --hostname NAME      the sandbox's host name
      --network none|host  no network, or the host's (default: none, unless the folder asks)
      --read-only          make the root file system read-only
      --rm                 accepted; a container is always removed when it ends
  -q, --quiet              do not show the build"""

_FLAGS = {
    "-i": "interactive", "--interactive": "interactive", "-t": "terminal", "--tty": "terminal", "--rm": "rm",
    "--read-only": "read_only", "-q": "quiet", "--quiet": "quiet",
}  # fmt: skip
_VALUES = {
    "-e": "env", "--env": "env", "-w": "workdir", "--workdir": "workdir", "-u": "user", "--user": "user",
    "--entrypoint": "entrypoint", "--hostname": "hostname", "--network": "network", "--net": "network",
}  # fmt: skip


class _Options:
    """The parsed command line of ``run``."""

    def __init__(self) -> None:
        self.flags: set[str] = set()
        self.values: dict[str, str] = {}
        self.env: dict[str, str] = {}
        self.target = ""
        self.arguments: list[str] = []


def parse_run(words: list[str]) -> _Options:
    """Return the options of ``run``; raises ``CarboyError`` with code 2 for a wrong one.

    Written by hand because `argparse` takes longer to import than the sandbox takes to start.
    """
    options = _Options()
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "--":
        word = rest.pop(0)
        if word in _FLAGS:
            options.flags.add(_FLAGS[word])
            continue
        if not word.startswith("--") and len(word) > 2 and all(f"-{c}" in _FLAGS for c in word[1:]):
            options.flags.update(_FLAGS[f"-{c}"] for c in word[1:])  # -it
            continue
        name, has_value, value = word.partition("=")
        if name not in _VALUES:
            raise CarboyError(f"run has no option {name}", hint="`carboy run --help` lists them", code=2)
        if not has_value:
            if not rest:
                raise CarboyError(f"the option {name} needs a value", hint="`carboy run --help` shows which", code=2)
            value = rest.pop(0)
        _set_value(options, _VALUES[name], value)
    if rest and rest[0] == "--":
        rest.pop(0)
    if not rest:
        raise CarboyError("say what to run: a folder or an image", hint="for example: carboy run .", code=2)
    options.target, options.arguments = rest[0], rest[1:]
    if options.arguments[:1] == ["--"]:
        options.arguments.pop(0)
    return options


def _set_value(options: _Options, name: str, value: str) -> None:
    if name == "env":
        variable, has_value, text = value.partition("=")
        if not variable or "\0" in value:
            raise CarboyError(f"{value!r} is not NAME=VALUE", hint="write --env NAME=VALUE", code=2)
        if has_value:
            options.env[variable] = text
        elif variable in os.environ:
            options.env[variable] = os.environ[variable]
        return
    if name == "network" and value not in {"none", "host"}:
        raise CarboyError(f"there is no network {value!r}", hint="use none or host", code=2)
    options.values[name] = value


def run(words: list[str]) -> int:
    """Run a folder or an image and return the program's exit status."""
    if words[:1] in (["-h"], ["--help"]):
        print(_HELP)
        return 0
    options = parse_run(words)
    manifest, network = None, options.values.get("network")
    if "terminal" in options.flags and not os.isatty(0) and "interactive" in options.flags:
        raise CarboyError("standard input is not a terminal", hint="leave -t out, or run it in a terminal", code=125)
    is_folder = looks_like_folder(options.target)
    if is_folder and not os.path.isdir(options.target):
        raise CarboyError(
            f"there is no folder {options.target}", hint="name a folder, or an image that `carboy images` lists"
        )
    engine = Engine.open(os.environ)
    if is_folder:
        manifest, asked = _build(engine, options)
        network = network or asked
    request = RunRequest(
        arguments=options.arguments,
        entrypoint=options.values.get("entrypoint"),
        env=options.env,
        hostname=options.values.get("hostname"),
        interactive="interactive" in options.flags,
        network=network or "none",
        read_only="read_only" in options.flags,
        terminal="terminal" in options.flags,
        user=options.values.get("user"),
        workdir=options.values.get("workdir"),
    )
    return run_image(engine, options.target, request, manifest=manifest)


def looks_like_folder(target: str) -> bool:
    """Return whether ``target`` means a folder: it is one, or is written as a path."""
    return target in {".", ".."} or target.startswith(("./", "../", "/", "~")) or os.path.isdir(target)


def _build(engine: Engine, options: _Options) -> tuple[str, str]:
    from carboy.cli.progress import open_progress
    from carboy.engine.build import build_folder

    with open_progress(sys.stderr, quiet="quiet" in options.flags) as progress:
        result = build_folder(engine, options.target, name=None, progress=progress)
    return str(result.descriptor.digest), result.network
