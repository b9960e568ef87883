"""Runs the machine's git, which gets nothing of the person's but proxies, certificates and the agent that a build was given.

No configuration, no hooks, no helper, no template, no other protocols: CVE-2026-33748, CVE-2019-13139.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from carboy.base import proc
from carboy.base.credentials import redact
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from carboy.build.graph.options import BuildOptions

PROTOCOLS = "http:https:ssh:git"
MAX_OUTPUT_BYTES = 2**20
MAX_RECORD_BYTES = 2**16
_CONFIG = (
    "core.hooksPath=/dev/null",
    "credential.helper=",
    "core.fsmonitor=false",
    "core.logAllRefUpdates=false",
    "core.protectNTFS=false",
    "gc.auto=0",
    "pack.threads=1",
)
_CHUNK_BYTES = 65_536


class GitProgram:
    """git with a small environment of its own. Raises ``CarboyError`` where the machine has none."""

    def __init__(self, options: BuildOptions, *, protocols: str = "") -> None:
        program = shutil.which("git")
        if program is None:
            raise CarboyError("git is not on this machine", hint="install git, or name an archive of the repository")
        self._program = program
        self._protocols = protocols or PROTOCOLS
        environ = options.environ
        self._env = {
            **proc.DEFAULT_ENV,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",  # it would ask on the terminal, whatever git does
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_LFS_SKIP_SMUDGE": "1",
        }
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"):
            self._env |= {key: environ[key] for key in (name, name.lower()) if environ.get(key)}
        bundle = environ.get("GIT_SSL_CAINFO") or environ.get("SSL_CERT_FILE")
        if bundle:
            self._env["GIT_SSL_CAINFO"] = bundle
        if "default" in options.ssh:
            self._env["SSH_AUTH_SOCK"] = options.ssh["default"]

    def ask(self, *arguments: str) -> bool:
        """Return whether a command succeeds."""
        status, _ = self._read(arguments, self._environ(self._protocols))
        return status == 0

    def run(self, *arguments: str, protocols: str = "", index: str = "") -> str:
        """Run a command and return what it printed. Raises ``CarboyError`` with that when it fails.

        ``protocols`` are allowed in place of those of the network; ``index`` is a file for the state of the checkout.
        """
        env = self._environ(protocols or self._protocols) | ({"GIT_INDEX_FILE": index} if index else {})
        status, output = self._read(arguments, env)
        if status:
            command = next(word for word in arguments if not word.startswith(("-", "/")))
            raise CarboyError(
                f"git {command} ended with status {status}",
                details=redact(output.strip()),
                hint="check the address",
            )
        return output

    def records(self, *arguments: str) -> Iterator[bytes]:
        """Yield what a command prints, cut at its NUL bytes; a command that fails yields what it printed until then.

        Raises ``CarboyError`` for a record of more than ``MAX_RECORD_BYTES``.
        """
        with proc.Piped(self._argv(arguments), env=self._environ(PROTOCOLS)) as started:  # it ends when nobody listens
            rest = b""
            while chunk := os.read(started.fd, _CHUNK_BYTES):
                *whole, rest = (rest + chunk).split(b"\0")
                yield from whole
                if len(rest) > MAX_RECORD_BYTES:
                    raise CarboyError("the repository has names that are too long", hint="check the address")

    def _read(self, arguments: tuple[str, ...], env: Mapping[str, str]) -> tuple[int, str]:
        """Return the exit status, and what it prints, to its end and with its errors, as much as is kept of that."""
        output = b""
        with proc.Piped(self._argv(arguments), env=env, outputs=(1, 2)) as started:
            while chunk := os.read(started.fd, _CHUNK_BYTES):
                output += chunk[: MAX_OUTPUT_BYTES - len(output)]
        return started.status, output.decode("utf-8", "replace")

    def _argv(self, arguments: tuple[str, ...]) -> list[str]:
        return [self._program, *(word for item in _CONFIG for word in ("-c", item)), *arguments]

    def _environ(self, protocols: str) -> dict[str, str]:
        return {**self._env, "GIT_ALLOW_PROTOCOL": protocols}
