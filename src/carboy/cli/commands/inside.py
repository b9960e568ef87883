"""``carboy exec`` and ``carboy attach``: thin clients of the process that keeps the container.

``exec`` is on a short path: no option parser, no store, nothing that needs a user namespace of its own.
"""

from __future__ import annotations

import os

from carboy.containers.client import attach as attach_to
from carboy.containers.client import execute, execute_detached
from carboy.engine.containers.find import find_folder
from carboy.errors import CarboyError
from carboy.runtime.stdio import Stdio

_EXEC = """Usage: carboy exec [OPTIONS] CONTAINER COMMAND [ARGUMENTS]

Run one more program in a running container, and end with its exit status.

  -i, --interactive        pass standard input on
  -t, --tty                give the program a terminal
  -d, --detach             leave it running
  -e, --env NAME[=VALUE]   set a variable
      --env-file FILE      set the variables of a file
  -w, --workdir DIR        the directory to start in
  -u, --user USER[:GROUP]  the user to run as"""
_ATTACH = """Usage: carboy attach [--no-stdin] CONTAINER

Show what a running container writes, and pass standard input on. Ctrl-C reaches it, where it has a terminal."""
_FLAGS = {"i": "interactive", "t": "tty", "d": "detach"}
_LONG_FLAGS = {"--interactive", "--tty", "--detach", "--privileged"}
_VALUES = {
    "-e": "env",
    "--env": "env",
    "-w": "cwd",
    "--workdir": "cwd",
    "-u": "user",
    "--user": "user",
    "--env-file": "file",
}


def exec_(words: list[str]) -> int:
    """Run a program in a running container and return its exit status."""
    if words[:1] in (["--help"], ["-h"]):
        print(_EXEC)
        return 0
    flags, values, env, rest = _parse(words)
    if len(rest) < 2:
        raise CarboyError("say in which container, and what to run", hint="carboy exec NAME COMMAND", code=2)
    if "privileged" in flags:
        raise CarboyError("there is no privileged exec", hint="leave --privileged out", code=2)
    if {"tty", "interactive"} <= flags and not os.isatty(0):
        raise CarboyError("standard input is not a terminal", hint="leave -t out, or run it in a terminal", code=1)
    folder = find_folder(os.environ, rest[0])
    if "tty" in flags:
        env.insert(0, f"TERM={os.environ.get('TERM', 'xterm')}")
    process = {"args": rest[1:], "env": env, "terminal": "tty" in flags, **values}
    if "detach" in flags:
        execute_detached(folder, {**process, "terminal": False})
        return 0
    stdio = Stdio(stdin=0 if "interactive" in flags else None, stdout=1, stderr=2, terminal="tty" in flags)
    return execute(folder, process, stdio)


def _parse(words: list[str]) -> tuple[set[str], dict[str, str], list[str], list[str]]:
    flags: set[str] = set()
    values: dict[str, str] = {}
    env: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        name, has_value, value = word.partition("=")
        if word == "--":
            break
        if word in _LONG_FLAGS:
            flags.add(word[2:])
        elif not word.startswith("--") and len(word) > 1 and all(letter in _FLAGS for letter in word[1:]):
            flags.update(_FLAGS[letter] for letter in word[1:])
        elif name in _VALUES:
            if not has_value:
                if not rest:
                    raise CarboyError(f"the option {name} needs a value", code=2)
                value = rest.pop(0)
            _set(values, env, _VALUES[name], value)
        else:
            raise CarboyError(f"exec has no option {name}", hint="`carboy exec --help` lists them", code=2)
    return flags, values, env, rest


def _set(values: dict[str, str], env: list[str], name: str, value: str) -> None:
    if name in {"file", "env"}:
        from carboy.cli.commands.container_options import read_env_file, read_variables

        env += read_env_file(value) if name == "file" else read_variables([value], option="--env")
    else:
        values[name] = value


def attach(words: list[str]) -> int:
    """Attach to a running container and return its exit status."""
    if words[:1] in (["--help"], ["-h"]) or not words:
        print(_ATTACH)
        return 0 if words else 2
    wants_input = "--no-stdin" not in words
    names = [word for word in words if not word.startswith("-")]
    if len(names) != 1:
        raise CarboyError("say which container", hint="carboy attach NAME", code=2)
    folder = find_folder(os.environ, names[0])
    return attach_to(folder, Stdio(stdin=0 if wants_input else None, stdout=1, stderr=2))
