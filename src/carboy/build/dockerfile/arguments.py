"""What the command line says of a build, as text to values. Source: docker/buildx, docs/reference/buildx_build.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from carboy.build.dockerfile.git import parse_git_address
from carboy.errors import CarboyError

_CONTEXT_NAME = re.compile(r"[a-z0-9][a-z0-9._/:@-]*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSource:
    """What ``--build-context name=value`` names: an image, a repository, or a folder."""

    kind: Literal["image", "git", "folder"]
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSource:
    """Where the content of a secret is: in the file ``path``, in the variable ``env``, or it is ``value``."""

    id: str
    path: str = ""
    env: str = ""
    value: bytes | None = field(default=None, repr=False)


def parse_build_args(items: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return build arguments of "NAME=value" or "NAME", whose value is the environment's: one without any is left out."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not name:
            raise CarboyError(f"--build-arg {item!r} has no name", hint="write it as NAME=value", code=2)
        if equals:
            found[name] = value
        elif name in environ:
            found[name] = environ[name]
    return found


def parse_labels(items: Iterable[str]) -> dict[str, str]:
    """Return labels of "name=value"; a name alone has an empty value."""
    found: dict[str, str] = {}
    for item in items:
        name, _, value = item.partition("=")
        if not name:
            raise CarboyError(f"--label {item!r} has no name", hint="write it as name=value", code=2)
        found[name] = value
    return found


def parse_contexts(items: Iterable[str]) -> dict[str, ContextSource]:
    """Return named contexts of "name=value", names in lower case and without ":latest". Raises ``CarboyError`` (2)."""
    found: dict[str, ContextSource] = {}
    for item in items:
        name, equals, value = item.partition("=")
        name = name.lower().removesuffix(":latest")
        if not equals or not value or not _CONTEXT_NAME.fullmatch(name):
            raise CarboyError(f"--build-context {item!r} is not name=value", hint="write it as lib=../lib", code=2)
        if value.startswith("docker-image://"):
            found[name] = ContextSource(kind="image", value=value.removeprefix("docker-image://"))
        elif parse_git_address(value) is not None:
            found[name] = ContextSource(kind="git", value=value)
        elif "://" in value:
            hint = "a folder, a git repository or docker-image://name can be a context"
            raise CarboyError(
                f"--build-context {name}: carboy does not read {value.partition('://')[0]}:// here", hint=hint, code=2
            )
        else:
            found[name] = ContextSource(kind="folder", value=value)
    return found


def parse_secrets(items: Iterable[str], environ: Mapping[str, str]) -> tuple[SecretSource, ...]:
    """Return secrets of "id=NAME[,src=PATH|,env=VARIABLE]"; without either, it is the variable of that name, else the file.

    Raises ``CarboyError`` (2).
    """
    return tuple(_parse_secret(item, environ) for item in items)


def _parse_secret(item: str, environ: Mapping[str, str]) -> SecretSource:
    values: dict[str, str] = {}
    for part in item.split(","):
        key, equals, value = part.partition("=")
        key = {"source": "src"}.get(key.lower(), key.lower())
        if not equals or key not in {"id", "src", "env", "type"}:
            raise CarboyError(f"--secret {part!r} is not known", hint="write it as id=token,src=token.txt", code=2)
        values[key] = value
    name, kind = values.get("id", ""), values.get("type", "")
    path, env = values.get("src", ""), values.get("env", "")
    if kind not in {"", "file", "env"}:
        raise CarboyError(f"--secret: there is no type {kind!r}", hint="file and env are there", code=2)
    if kind == "env" and not env:
        path, env = "", path
    if not name:
        raise CarboyError("--secret has no id", hint="write it as id=token,src=token.txt", code=2)
    if path and env:
        raise CarboyError(f"--secret {name} has both a file and a variable", hint="leave one out", code=2)
    if not path and not env:
        return SecretSource(id=name, env=name) if name in environ else SecretSource(id=name, path=name)
    return SecretSource(id=name, path=path, env=env)


def parse_ssh(items: Iterable[str], environ: Mapping[str, str]) -> dict[str, str]:
    """Return the sockets of agents by id, of "default" or "id=PATH"; without a path it is SSH_AUTH_SOCK.

    Raises ``CarboyError`` (2).
    """
    found: dict[str, str] = {}
    for item in items:
        name, _, path = item.partition("=")
        path = path or environ.get("SSH_AUTH_SOCK", "")
        if not name or not path:
            hint = "start an agent, or write --ssh id=/path/of/its/socket"
            raise CarboyError(f"--ssh {item!r}: there is no agent (SSH_AUTH_SOCK is not set)", hint=hint, code=2)
        found[name] = path
    return found
