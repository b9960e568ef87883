"""``carboy commit``: an image of what a container has now."""

from __future__ import annotations

import os

from carboy.cli.options import Parser
from carboy.engine.containers.manage import open_view
from carboy.engine.context import Engine
from carboy.errors import CarboyError


def commit(words: list[str]) -> int:
    """Make an image of a container and print its digest."""
    parser = Parser(
        "commit [OPTIONS] CONTAINER [NAME[:TAG]]",
        "Make an image of a container's image and what the container wrote; what is mounted in it is left out.",
    )
    parser.add_argument("-m", "--message", default="", help="a note in the image's history")
    parser.add_argument("-a", "--author", default="", help="who made it")
    parser.add_argument("-c", "--change", action="append", default=[], metavar="INSTRUCTION",
                        help="as in a Dockerfile: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, "
                        "USER, VOLUME, WORKDIR")  # fmt: skip
    parser.add_argument("-p", "--pause", nargs="?", const="true", default="true", metavar="true|false",
                        help="pause a container that runs meanwhile (default: true)")  # fmt: skip
    parser.add_argument("--no-pause", action="store_true", help="read its files as they change")
    parser.add_argument("container", metavar="CONTAINER")
    parser.add_argument("name", nargs="?", default=None, metavar="NAME[:TAG]")
    options = parser.parse_args(_join_pause(words))
    if options.pause.lower() not in {"true", "false", "1", "0"}:
        raise CarboyError("--pause is true or false", hint="write --pause=false, or --no-pause", code=2)
    from carboy.engine.containers.files.commit import CommitRequest, commit_container

    engine = Engine.open(os.environ)
    request = CommitRequest(
        name=options.name,
        changes=tuple(options.change),
        message=options.message,
        author=options.author,
        pause=options.pause.lower() in {"true", "1"} and not options.no_pause,
    )
    print(commit_container(engine, open_view(engine.home, options.container), request).digest)
    return 0


def _join_pause(words: list[str]) -> list[str]:
    """Let "--pause NAME" be a switch with a name behind it, as Go's flags have it: a value comes with "=" only."""
    return ["--pause=true" if word in {"--pause", "-p"} else word for word in words]
