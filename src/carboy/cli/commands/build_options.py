"""What ``carboy build`` and ``carboy plan`` are told: options to a request."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from carboy.cli.options import Parser
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from argparse import Namespace
    from typing import TypedDict

    from carboy.build.exchange.arguments import CacheOrigin, CacheTarget
    from carboy.engine.dockerfile_request import DockerfileRequest

    class _Caches(TypedDict, total=False):
        cache_from: tuple[CacheOrigin, ...]
        cache_to: tuple[CacheTarget, ...]


# The Dockerfile of a context that is elsewhere: the usual names are looked for there.
ADDRESS = "(elsewhere)"
MAX_STDIN = 512 * 2**20
# All of these are for Dockerfiles, but for ``_OF_ALL``.
_REPEATED = (
    ("--build-arg", "NAME=VALUE", "the value of an ARG"),
    ("--label", "NAME=VALUE", "a label of the image"),
    ("--build-context", "NAME=PLACE", "one more context, by name: a folder, a git repository, docker-image://NAME"),
    ("--secret", "id=NAME,src=PATH", "a secret for RUN --mount=type=secret"),
    ("--ssh", "default|ID=SOCKET", "an agent for RUN --mount=type=ssh"),
    ("--no-cache-filter", "STAGE", "do the steps of a stage again"),
    ("--allow", "RIGHT", "network.host or security.insecure"),
    ("--add-host", "NAME:ADDRESS", "one more name in /etc/hosts of RUN"),
    ("--ulimit", "NAME=SOFT[:HARD]", "a limit of RUN"),
    ("--cache-from", "type=local,src=FOLDER", "a cache that another build wrote there"),
    ("--cache-to", "type=local,dest=FOLDER[,mode=max]", "write what this build's steps made; max: of all stages"),
)
_ONCE = (
    ("--target", "STAGE", "the stage to build"),
    ("--network", "MODE", "what RUN gets: none, host, or (default) its own where it can be had"),
    ("--shm-size", "SIZE", "the size of /dev/shm of RUN"),
    ("--context-limit", "SIZE", "how much of a context is taken before that is an error (10g)"),
    ("--platform", "OS/ARCH[,...]", "the platform to build for, or several"),
)
# Folders of Python know these, too.
_OF_ALL = frozenset({"--platform"})

# What changes how a build goes, and not what comes of it.
_SHAPELESS = frozenset({"--cache-from", "--cache-to", "--no-cache-filter", "--context-limit"})


def add_options(parser: Parser) -> None:
    """Add the options that say what is built."""
    text = "a folder, an address of a git repository or an archive, - for a Dockerfile or a tar on standard input"
    parser.add_argument("folder", metavar="CONTEXT", nargs="?", help=f"{text} (with -f: . by default)")
    add_step_options(parser)


def add_step_options(parser: Parser) -> None:
    """Add the options that say how a context is built."""
    parser.add_argument("-f", "--file", metavar="PATH", help="the Dockerfile (default: CONTEXT/Dockerfile)")
    for name, metavar, text in _ONCE:
        parser.add_argument(name, metavar=metavar, default="", help=text)
    for name, metavar, text in _REPEATED:
        parser.add_argument(name, metavar=metavar, action="append", default=[], help=text)
    parser.add_argument("--no-cache", action="store_true", help="do every step again")


def list_words(options: Namespace) -> tuple[str, ...]:
    """Return the options that shape the image, as words that :func:`add_step_options` understands; none is a secret's value."""
    words = []
    for name, _, _ in (*_ONCE, *_REPEATED):
        value = getattr(options, name[2:].replace("-", "_"))
        if name not in _SHAPELESS:
            words += [f"{name}={item}" for item in ([value] if isinstance(value, str) else value) if item]
    return tuple(words)


def check_python(options: Namespace, reason: str) -> None:
    """Refuse what a folder of Python knows nothing of. Raises ``CarboyError`` (2)."""
    names = [*(name for name, _, _ in (*_REPEATED, *_ONCE) if name not in _OF_ALL), "--no-cache", "--check"]
    given = [name for name in names if getattr(options, name[2:].replace("-", "_"), None)]
    if given:
        raise CarboyError(
            f"{given[0]} is for a Dockerfile, and {options.folder} is built as a folder of Python",
            details=reason,
            hint='name the Dockerfile with -f, or write [build] and front = "dockerfile" into carboy.toml',
            code=2,
        )


def read_request(options: Namespace, *, file: str, names: tuple[str, ...] = ()) -> DockerfileRequest:
    """Return what is asked for; ``file`` is the Dockerfile as the front end's choice has it. Raises ``CarboyError`` (2)."""
    from carboy.build.dockerfile.arguments import (
        parse_build_args,
        parse_contexts,
        parse_labels,
        parse_secrets,
        parse_ssh,
    )
    from carboy.engine.contexts import is_archive
    from carboy.engine.dockerfile_request import DockerfileRequest
    from carboy.runtime.limits import parse_bytes, parse_ulimit

    text = archive = None
    context = options.folder
    if context == "-":
        if options.file == "-":
            brief = "standard input cannot be both the context and the Dockerfile"
            raise CarboyError(brief, hint="name a folder", code=2)
        data, context, file = _read_stdin(), "", options.file or ""
        text, archive = (None, data) if is_archive(data) else (data, None)
    elif file == ADDRESS:
        file = ""
    elif file == "-":
        text, file = _read_stdin(), "Dockerfile"
    if options.network not in {"", "default", "host", "none"}:
        raise CarboyError(
            f"--network {options.network}: builds know none, host and default", hint="leave it out", code=2
        )
    return DockerfileRequest(
        context=context,
        file=file,
        text=text,
        archive=archive,
        names=names,
        build_args=parse_build_args(options.build_arg, os.environ),
        labels=parse_labels(options.label),
        target=options.target,
        contexts=parse_contexts(options.build_context),
        secrets=parse_secrets(options.secret, os.environ),
        ssh=parse_ssh(options.ssh, os.environ),
        no_cache=options.no_cache,
        no_cache_stages=frozenset(name.lower() for item in options.no_cache_filter for name in item.split(",")),
        allow=frozenset(options.allow),
        network=options.network or "default",
        add_hosts=tuple(_parse_host(item) for item in options.add_host),
        shm_bytes=parse_bytes(options.shm_size) if options.shm_size else None,
        ulimits=tuple(parse_ulimit(item) for item in options.ulimit),
        platform=options.platform,
        refresh=getattr(options, "pull", False),
        context_limit_bytes=parse_bytes(options.context_limit) if options.context_limit else None,
        **_read_caches(options),
    )


def _read_caches(options: Namespace) -> _Caches:
    if not options.cache_from and not options.cache_to:
        return {}
    from carboy.build.exchange.arguments import parse_cache_from, parse_cache_to

    return {"cache_from": parse_cache_from(options.cache_from), "cache_to": parse_cache_to(options.cache_to)}


def _read_stdin() -> bytes:
    data = sys.stdin.buffer.read(MAX_STDIN + 1)
    if len(data) > MAX_STDIN:
        raise CarboyError(f"standard input has more than {MAX_STDIN} bytes", hint="unpack it into a folder", code=2)
    return data


def _parse_host(text: str) -> tuple[str, str]:
    name, separator, address = text.partition("=" if "=" in text else ":")
    if not name or not separator or not address:
        raise CarboyError(f"--add-host {text!r} is not NAME:ADDRESS", hint="write it as db:10.0.0.5", code=2)
    return name, address.removeprefix("[").removesuffix("]")
