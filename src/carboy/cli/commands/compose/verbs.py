"""``carboy compose [OPTIONS] VERB``: projects of several containers."""

from __future__ import annotations

from carboy.errors import CarboyError

# verb: (module below carboy.cli.commands.compose, function, one line of help)
VERBS: dict[str, tuple[str, str, str]] = {
    "up": ("up", "up", "Build, make and start what the file says"),
    "down": ("lifecycle", "down", "Stop and remove containers and networks"),
    "create": ("up", "create", "Build and make, without starting"),
    "start": ("lifecycle", "start", "Start the containers that exist"),
    "stop": ("lifecycle", "stop", "Stop containers"),
    "restart": ("lifecycle", "restart", "Stop containers and start them again"),
    "kill": ("lifecycle", "kill", "Send a signal to containers"),
    "pause": ("lifecycle", "pause", "Hold containers where they are"),
    "unpause": ("lifecycle", "unpause", "Let paused containers go on"),
    "rm": ("lifecycle", "rm", "Remove stopped containers"),
    "build": ("lifecycle", "build", "Build images"),
    "push": ("lifecycle", "push", "Send images to registries"),
    "pull": ("lifecycle", "pull", "Get images from registries"),
    "run": ("inside", "run", "Run one more container of a service, once"),
    "exec": ("inside", "exec_", "Run one more program in a running container"),
    "ps": ("show", "ps", "List containers"),
    "logs": ("logs", "logs", "Show what containers wrote"),
    "top": ("show", "top", "Show processes"),
    "port": ("show", "port", "Show where a port is published"),
    "images": ("show", "images", "List the images that containers were made of"),
    "config": ("config", "config", "Show the file as it is understood"),
    "ls": ("show", "ls", "List projects"),
    "version": ("show", "version", "Show carboy's version"),
}


def compose(words: list[str]) -> int:
    """Carry out one of the verbs on projects."""
    from carboy.cli.commands.compose.project import parse_globals

    options, verb, rest = parse_globals(words, {name: text for name, (_, _, text) in VERBS.items()})
    if not verb:
        return 0
    if verb not in VERBS:
        from difflib import get_close_matches

        near = get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean `carboy compose {near[0]}`?" if near else "`carboy compose --help` lists the verbs"
        raise CarboyError(f"compose has no verb {verb!r}", hint=hint, code=2)
    module, function, _ = VERBS[verb]
    command = getattr(__import__(f"carboy.cli.commands.compose.{module}", fromlist=[function]), function)
    status: int = command(options, rest)
    return status
