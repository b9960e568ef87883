"""``carboy login`` and ``logout``: who one is at a registry, in the files that Docker and podman read as well."""

from __future__ import annotations

import os
import sys

from carboy.base.home import find_home
from carboy.cli.options import Parser
from carboy.errors import CarboyError
from carboy.oci.reference import DEFAULT_REGISTRY

_MAX_PASSWORD_BYTES = 65_536


def login(words: list[str]) -> int:
    """Log in, once the registry has agreed."""
    parser = Parser("login [OPTIONS] [REGISTRY]", "Log in to a registry; Docker Hub when none is named.")
    parser.add_argument("-u", "--username", default="", metavar="NAME", help="the user")
    parser.add_argument("-p", "--password", default="", metavar="TEXT", help="the password, or a token in its place")
    parser.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    parser.add_argument("registry", nargs="?", default=DEFAULT_REGISTRY, metavar="REGISTRY")
    options = parser.parse_args(words)
    registry = _parse_registry(options.registry)
    from carboy.engine.transfer.registries import log_in
    from carboy.remote.logins import Login

    if options.password and options.password_stdin:
        raise CarboyError("--password and --password-stdin are mutually exclusive", hint="give one of them", code=2)
    if options.password_stdin and not options.username:
        raise CarboyError("--password-stdin needs the user", hint="add --username NAME", code=2)
    if options.password:
        print("warning: a password on the command line is seen by others; use --password-stdin", file=sys.stderr)
    user = options.username or _ask_user()
    password = options.password or (_read_password() if options.password_stdin else _ask_password())
    if not user or not password:
        raise CarboyError("a user and a password are needed", hint="or a token in the password's place", code=2)
    where = log_in(
        find_home(os.environ, os.getuid()), registry, Login(user=user, password=password), environ=os.environ
    )
    if where.startswith("/"):
        print(f"warning: the password is in {where}, unencrypted; credsStore there names a helper", file=sys.stderr)
    print("Login Succeeded")
    return 0


def logout(words: list[str]) -> int:
    """Forget a login; there need be none."""
    parser = Parser("logout [REGISTRY]", "Forget the login to a registry; Docker Hub when none is named.")
    parser.add_argument("registry", nargs="?", default=DEFAULT_REGISTRY, metavar="REGISTRY")
    options = parser.parse_args(words)
    registry = _parse_registry(options.registry)
    from carboy.remote.logins import forget_login

    gone = forget_login(registry, environ=os.environ)
    print(f"Removed the login for {registry}" if gone else f"Not logged in to {registry}")
    return 0


def _parse_registry(text: str) -> str:
    """Return the host of what somebody wrote, which may be an address. Raises ``CarboyError`` (2)."""
    from carboy.oci.errors import InvalidReferenceError
    from carboy.oci.reference import Reference

    host = text.removeprefix("https://").removeprefix("http://").partition("/")[0]
    if host in {"index.docker.io", "registry-1.docker.io"}:
        return DEFAULT_REGISTRY
    try:
        # A name of one part could be a repository of Docker Hub's: with a port it can only be a host.
        found = Reference.parse(f"{host}/x") if "." in host or ":" in host else None
    except InvalidReferenceError:
        found = None
    if found is None and host != "localhost":
        raise CarboyError(f"{text[:200]!r} is not the name of a registry", hint="write HOST or HOST:PORT", code=2)
    return host


def _ask_user() -> str:
    if not os.isatty(0):
        hint = "use --username NAME and --password-stdin"
        raise CarboyError("nobody can be asked for the user: standard input is no terminal", hint=hint, code=2)
    return input("Username: ").strip()


def _ask_password() -> str:
    import getpass

    if not os.isatty(0):
        raise CarboyError(
            "nobody can be asked for the password: standard input is no terminal", hint="use --password-stdin", code=2
        )
    return getpass.getpass("Password: ")


def _read_password() -> str:
    data = sys.stdin.buffer.read(_MAX_PASSWORD_BYTES)
    return data.decode("utf-8", "replace").rstrip("\r\n")
