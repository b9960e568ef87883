"""ADD of a git repository: fetched by the machine's git, as little of it as the ref needs, and checked out beside its objects.

::

    cache/git/<hash of the address>/    lock, objects.git/ (bare), <commit>/ and <commit>.git/ (with its .git): checkouts,
    never changed

git gets nothing of the person's but proxies, certificates and the agent that was given to the build: no configuration, no
hooks, no helper, no other protocols (CVE-2026-33748, CVE-2019-13139). What it checks out is read as a context is: by
descriptors, and no link leads out of it. Submodules are not fetched.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from typing import TYPE_CHECKING

from carboy.base import proc
from carboy.base.fs import remove_tree, translate_os_errors
from carboy.base.locks import FileLock
from carboy.build.context.scan import ContextScan
from carboy.build.copying.views import ContextView
from carboy.build.solver.downloads import show_url
from carboy.errors import CarboyError
from carboy.snapshots.merged import Folder, find

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.build.graph.ops import Git
    from carboy.build.graph.options import BuildOptions
    from carboy.store.store import Store

_PROTOCOLS = "http:https:ssh:git"
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]*")
_CONFIG = (
    "core.hooksPath=/dev/null",
    "credential.helper=",
    "core.fsmonitor=false",
    "core.protectNTFS=false",
    "gc.auto=0",
)
MAX_OUTPUT_BYTES = 2**20
_POLL_S = 0.2


def check_out(
    op: Git, store: Store, options: BuildOptions, *, say: Callable[[str], None], check: Callable[[], None]
) -> tuple[ContextView, bool]:
    """Return a view of the files at the ref, and whether they were there. Raises ``CarboyError`` with git's reason."""
    folder, cached = fetch_folder(op, store, options, say=say, check=check)
    scan = ContextScan(folder, cache_dir=f"{store.home.cache}/contexts")
    return ContextView(scan, where=f"the repository {show_url(op.url)}"), cached


def fetch_folder(
    op: Git, store: Store, options: BuildOptions, *, say: Callable[[str], None], check: Callable[[], None]
) -> tuple[str, bool]:
    """Return the folder of a checkout, which stays, and whether it was there. Raises ``CarboyError`` with git's reason."""
    program = shutil.which("git")
    if program is None:
        raise CarboyError("git is not on this machine", hint="install git, or ADD an archive of the repository")
    if op.ref and (not _REF.fullmatch(op.ref) or ".." in op.ref):
        raise CarboyError(
            f"{op.ref!r} is not a branch, tag or commit", hint="check what is behind the # of the address"
        )
    place = f"{store.home.cache}/git/{hashlib.sha256(op.url.encode()).hexdigest()}"
    os.makedirs(place, mode=0o700, exist_ok=True)
    git = _Git(program, options, say)
    lock = FileLock(f"{place}/lock")
    while not lock.acquire(timeout_s=_POLL_S):
        check()
    try:
        with translate_os_errors("check the repository out"):
            commit = _fetch(op, git, f"{place}/objects.git")
            folder = f"{place}/{commit}{'.git' if op.keep_git_dir else ''}"
            cached = os.path.isdir(folder)
            if not cached:
                _make(op, git, f"{place}/objects.git", commit, folder)
    finally:
        lock.release()
    return _find_folder(folder, op.subdir), cached


def _fetch(op: Git, git: _Git, objects: str) -> str:
    """Return the commit that the ref is now, its files among the objects."""
    if not os.path.isdir(objects):
        git.run("init", "--quiet", "--bare", objects)
    is_commit = _COMMIT.fullmatch(op.ref) is not None
    if is_commit and git.ask("--git-dir", objects, "cat-file", "-e", f"{op.ref}^{{commit}}"):
        commit = op.ref
    else:
        fetch = ("--git-dir", objects, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--force")
        head = ("--git-dir", objects, "rev-parse", "FETCH_HEAD^{commit}")
        try:
            git.run(*fetch, "--depth=1", "--", op.url, op.ref or "HEAD")
            commit = git.run(*head).strip()
        except CarboyError as error:
            if "does not support shallow" in error.details:  # a server of plain files
                git.run(*fetch, "--", op.url, op.ref or "HEAD")
                commit = git.run(*head).strip()
            elif not is_commit:
                raise
            else:
                # A server need not give out a commit by its name: then all of it is asked for.
                git.run(*fetch, "--", op.url, "+refs/*:refs/fetched/*")
                commit = op.ref
    if op.checksum and not commit.startswith(op.checksum.lower()):
        raise CarboyError(
            f"{show_url(op.url)} is not what its checksum says",
            details=f"expected {op.checksum}\nfound    {commit}",
            hint="the branch has moved on, or the checksum is another commit's",
        )
    return commit


def _make(op: Git, git: _Git, objects: str, commit: str, folder: str) -> None:
    new = f"{folder}~{os.urandom(6).hex()}"
    os.mkdir(new, 0o755)
    try:
        own = objects
        if op.keep_git_dir:
            own = f"{new}/.git"
            git.run("init", "--quiet", new)
            git.run("--git-dir", own, "fetch", "--quiet", "--depth=1", "--", objects, commit, protocols="file")
            git.run("--git-dir", own, "update-ref", "--no-deref", "HEAD", commit)
        git.run("--git-dir", own, "--work-tree", new, "checkout", "--quiet", "--force", commit, "--", ".")
        if op.keep_git_dir:
            os.chmod(own, 0o755)  # noqa: S103
        os.rename(new, folder)
    except BaseException:
        remove_tree(new)
        raise


def _find_folder(folder: str, subdir: str) -> str:
    """Return where a folder of the checkout is; a link on the way leads nowhere outside."""
    with Folder([os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]) as root:
        try:
            with find(root, os.fsencode(subdir) or b".") as place:
                if place.entry is not None and place.entry.is_folder:
                    return "/".join([folder, *map(os.fsdecode, place.parts)])
        except OSError:
            pass
    raise CarboyError(f"the repository has no folder {subdir!r}", hint="check what is behind the : of the address")


class _Git:
    """Runs git with a small environment of its own."""

    def __init__(self, program: str, options: BuildOptions, say: Callable[[str], None]) -> None:
        self._program = program
        self._say = say
        environ = options.environ
        self._env = {
            **proc.DEFAULT_ENV,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
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
        return self._start(arguments, _PROTOCOLS)[0] == 0

    def run(self, *arguments: str, protocols: str = "") -> str:
        """Run a command and return what it printed. Raises ``CarboyError`` with that when it fails."""
        status, output = self._start(arguments, protocols or _PROTOCOLS)
        if status:
            command = next(word for word in arguments if not word.startswith(("-", "/")))
            raise CarboyError(
                f"git {command} ended with status {status}", details=output.strip(), hint="check the address"
            )
        return output

    def _start(self, arguments: tuple[str, ...], protocols: str) -> tuple[int, str]:
        read, write = os.pipe2(os.O_CLOEXEC)
        settings = [word for item in _CONFIG for word in ("-c", item)]
        try:
            env = {**self._env, "GIT_ALLOW_PROTOCOL": protocols}
            pid = proc.spawn([self._program, *settings, *arguments], env=env, fds={1: write, 2: write})
        finally:
            os.close(write)
        with open(read, "rb") as file:
            output = file.read(MAX_OUTPUT_BYTES)
            while file.read(MAX_OUTPUT_BYTES):
                pass
        return proc.wait(pid), output.decode("utf-8", "replace")
