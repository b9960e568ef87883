"""Who one is at a registry: the files and helper programs that Docker, podman and skopeo keep that in.

Read in this order, the first that knows the registry counts: ``$REGISTRY_AUTH_FILE``; ``containers/auth.json`` below
``$XDG_RUNTIME_DIR`` (``/run/containers/UID/auth.json`` without it) and ``$XDG_CONFIG_HOME``; ``config.json`` of
``$DOCKER_CONFIG`` or ``~/.docker``; ``~/.dockercfg``, which is its ``auths`` alone. In a file, the helper that ``credHelpers``
names for the registry goes before ``credsStore``, and that before ``auths``.

Sources: docker/cli, config file; containers/image, containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carboy.base.fs import make_dir, translate_os_errors, write_durable
from carboy.errors import CarboyError
from carboy.oci.reference import DEFAULT_REGISTRY
from carboy.remote.keychain import ask_helper, erase_helper, tell_helper

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_FILE_BYTES = 2**20
# Docker's own name for its registry, in files and towards helpers.
HUB_KEY = "https://index.docker.io/v1/"
_OLD_FILE = ".dockercfg"
_HUB_NAMES = frozenset({DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io"})
# What helpers answer in the place of a user, when the secret is an identity token. Source: docker-credential-helpers.
TOKEN_USER = "<token>"  # noqa: S105  the word, not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user with a password, or with an ``identity_token`` that buys others; or a ``registry_token`` that is one."""

    user: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


def list_files(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the paths of the files that may hold logins, in the order in which they count."""
    home = environ.get("HOME") or os.path.expanduser("~")
    config = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    found = [environ.get("REGISTRY_AUTH_FILE", "")]
    if environ.get("XDG_RUNTIME_DIR"):
        found.append(f"{environ['XDG_RUNTIME_DIR']}/containers/auth.json")
    elif os.access(path := f"/run/containers/{os.getuid()}/auth.json", os.R_OK):
        found.append(path)  # in a user namespace of ours that is root's, who is somebody else
    found += [f"{config}/containers/auth.json", _docker_file(environ), f"{home}/{_OLD_FILE}"]
    return tuple(dict.fromkeys(path for path in found if path))


def find_login(registry: str, repository: str, *, environ: Mapping[str, str]) -> Login | None:
    """Return the login for a repository, the one for the longest part of its name; None where nobody has one.

    Raises ``CarboyError`` for a file that cannot be read, and for a helper that fails.
    """
    for path in list_files(environ):
        found = _find_in(path, _read_file(path), registry, repository, environ)
        if found is not None:
            return found
    return None


def keep_login(registry: str, login: Login, *, environ: Mapping[str, str]) -> str:
    """Keep a login for later commands, of Docker and podman too, and return where: a file's path, or a helper's name.

    It goes to the helper that Docker's file names for the registry, else into the file itself. Raises ``CarboyError``.
    """
    path = _file_to_write(environ)
    document = _read_file(path)
    key = HUB_KEY if registry in _HUB_NAMES else registry
    helper = _helper_of(document, registry)
    if helper:
        user, secret = (TOKEN_USER, login.identity_token) if login.identity_token else (login.user, login.password)
        tell_helper(helper, {"ServerURL": key, "Username": user, "Secret": secret}, environ=environ)
        _write_entry(path, document, key, {})
        return f"docker-credential-{helper}"
    entry = {"auth": base64.b64encode(f"{login.user}:{login.password}".encode()).decode()}
    if login.identity_token:
        entry["identitytoken"] = login.identity_token
    _write_entry(path, document, key, entry)
    return path


def forget_login(registry: str, *, environ: Mapping[str, str]) -> list[str]:
    """Forget the logins of a registry wherever one is, and return where that was. Raises ``CarboyError``."""
    gone = []
    for path in list_files(environ):
        document = _read_file(path)
        helper = _helper_of(document, registry)
        auths = document.get("auths")
        keys = [key for key in auths if _normal(key) in _names_of(registry)] if isinstance(auths, dict) else []
        if helper:
            key = HUB_KEY if registry in _HUB_NAMES else registry
            if ask_helper(helper, key, environ=environ) is not None:
                erase_helper(helper, key, environ=environ)
                gone.append(f"docker-credential-{helper}")
        if keys:
            assert isinstance(auths, dict)
            kept = {key: value for key, value in auths.items() if key not in keys}
            _write(path, {**document, "auths": kept})
            gone += [] if helper else [path]
    return gone


# --- one file -------------------------------------------------------------------------------------------------------


def _find_in(
    path: str, document: Mapping[str, Any], registry: str, repository: str, environ: Mapping[str, str]
) -> Login | None:
    helper = _helper_of(document, registry)
    if helper:
        found = ask_helper(helper, HUB_KEY if registry in _HUB_NAMES else registry, environ=environ)
        if found is not None:
            user, secret = found
            return Login(identity_token=secret) if user == TOKEN_USER else Login(user=user, password=secret)
    auths = document.get("auths")
    entries = {_normal(key): value for key, value in auths.items()} if isinstance(auths, dict) else {}
    for name in _list_names(registry, repository):
        entry = entries.get(name)
        login = _read_entry(path, name, entry) if isinstance(entry, dict) else None
        if login is not None:
            return login
    return None


def _read_entry(path: str, name: str, entry: Mapping[str, Any]) -> Login | None:
    """Return the login of an entry; None for an empty one, which says that a helper has it."""
    texts = {key: value for key, value in entry.items() if isinstance(value, str)}
    user, password = texts.get("username", ""), texts.get("password", "")
    if texts.get("auth"):
        try:
            pair = base64.b64decode(texts["auth"], validate=True).decode().rstrip("\0")
        except (binascii.Error, ValueError) as error:
            raise CarboyError(f"{path}: the login for {name} cannot be read", hint=f"`carboy login {name}`") from error
        user, _, password = pair.partition(":")  # a password may hold colons
    login = Login(
        user=user,
        password=password,
        identity_token=texts.get("identitytoken", ""),
        registry_token=texts.get("registrytoken", ""),
    )
    return login if user or login.identity_token or login.registry_token else None


def _helper_of(document: Mapping[str, Any], registry: str) -> str:
    helpers = document.get("credHelpers")
    if isinstance(helpers, dict):
        own = {_normal(key): value for key, value in helpers.items()}
        for name in _names_of(registry):
            if isinstance(own.get(name), str) and own[name]:
                return str(own[name])
    store = document.get("credsStore")
    return store if isinstance(store, str) else ""


def _names_of(registry: str) -> tuple[str, ...]:
    return tuple(sorted(_HUB_NAMES)) if registry in _HUB_NAMES else (registry,)


def _list_names(registry: str, repository: str) -> list[str]:
    """Return the names under which a repository's login may be, the most exact first."""
    parts = repository.split("/")
    paths = ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
    hosts = _names_of(registry)
    return [f"{host}/{path}" for path in paths for host in hosts] + list(hosts)


def _normal(key: str) -> str:
    """Return a file's key without what some write and some do not: a scheme, and the API's version at its end."""
    name = key.removeprefix("https://").removeprefix("http://").rstrip("/")
    return name.removesuffix("/v1").removesuffix("/v2").rstrip("/")


def _file_to_write(environ: Mapping[str, str]) -> str:
    return environ.get("REGISTRY_AUTH_FILE") or _docker_file(environ)


def _docker_file(environ: Mapping[str, str]) -> str:
    home = environ.get("HOME") or os.path.expanduser("~")
    return f"{environ.get('DOCKER_CONFIG') or f'{home}/.docker'}/config.json"


def _read_file(path: str) -> dict[str, Any]:
    try:
        with translate_os_errors(f"read {path}"), open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except CarboyError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return {}
        raise
    if not data.strip():
        return {}
    try:
        value = json.loads(data) if len(data) <= MAX_FILE_BYTES else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise CarboyError(f"{path} is no JSON object", hint="correct it, or move it away and log in again")
    return {"auths": value} if _is_old(path) else value


def _is_old(path: str) -> bool:
    return os.path.basename(path) == _OLD_FILE


def _write_entry(path: str, document: Mapping[str, Any], key: str, entry: Mapping[str, str]) -> None:
    auths = document.get("auths")
    kept = {k: v for k, v in auths.items() if _normal(k) != _normal(key)} if isinstance(auths, dict) else {}
    _write(path, {**document, "auths": {**kept, key: dict(entry)}})


def _write(path: str, document: Mapping[str, Any]) -> None:
    """Write a file that other programs read as well: whole, and for its owner alone; what it is a link to stays one."""
    target = os.path.realpath(path)
    with translate_os_errors(f"write {path}"):
        make_dir(os.path.dirname(target))
        value = document["auths"] if _is_old(path) else document
        write_durable(target, json.dumps(value, indent="\t").encode() + b"\n")
