"""Git repositories that tests make, and a web server on 127.0.0.1 that gives them out, behind a login where one is wanted."""

from __future__ import annotations

import base64
import functools
import http.server
import os
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def git(place: Path, *arguments: str) -> str:
    """Run git in a folder, with nothing of this machine's settings, and return what it prints."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(place), "GIT_CONFIG_NOSYSTEM": "1"}
    dates = {"GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z"}
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", *who, *arguments], cwd=place, env={**environ, **dates}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(place: Path, **files: str) -> str:
    """Write files (``__`` is a slash in their names, ``_py`` at the end .py, ``_toml`` .toml) and return the new commit."""
    if not (place / ".git").exists():
        place.mkdir(parents=True, exist_ok=True)
        git(place, "init", "--quiet")
    for name, text in files.items():
        stem, _, ending = name.replace("__", "/").rpartition("_")
        path = place / f"{stem}.{ending}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message", "x")
    git(place, "update-server-info")
    return git(place, "rev-parse", "HEAD")


class _Handler(http.server.SimpleHTTPRequestHandler):
    login = ""

    def do_GET(self) -> None:
        wanted = f"Basic {base64.b64encode(self.login.encode()).decode()}"
        if self.login and self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serve_folder(folder: Path, *, login: str = "") -> Iterator[str]:
    """Give the address of a server for the repositories in a folder, as ``NAME/.git``; ``login`` is user:password."""
    handler = type("Handler", (_Handler,), {"login": login})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
