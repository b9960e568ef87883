"""ADD of a git repository: fetched by the machine's git, as little of it as the ref needs, and checked out beside its objects.

::

    cache/git/<hash of the address>/    lock, objects.git/ (bare), and checkouts, which are never changed: <commit>, with
    its submodules .all, with its .git .git or .history; url, for people, its time is that of the last use

What git checks out is read as a context is: by descriptors, and no link leads out of it. A .git that is kept is the
checkout's own alone, and the same for all who keep it: no configuration, hook or time of this machine's is in it.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import remove_tree, translate_os_errors
from carboy.base.locks import FileLock
from carboy.build.context.scan import ContextScan
from carboy.build.copying.views import ContextView
from carboy.build.solver.downloads import show_url
from carboy.build.solver.git import GitProgram
from carboy.build.solver.submodules import Module, iter_submodules
from carboy.errors import CarboyError
from carboy.snapshots.merged import Folder, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from carboy.build.graph.ops import Git
    from carboy.build.graph.options import BuildOptions
    from carboy.store.store import Store

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT = re.compile(r"[0-9a-f]{7,39}")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./+@-]*")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_POLL_S = 0.2
_AT_ONCE = 200  # tags in one command, whose length has a limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A folder that stays, of the ``commit`` made at ``time_s`` (seconds since 1970); ``cached``: it was there."""

    folder: str
    commit: str
    time_s: int
    cached: bool


def check_out(
    op: Git, store: Store, options: BuildOptions, *, say: Callable[[str], None], check: Callable[[], None]
) -> tuple[ContextView, bool]:
    """Return a view of the files at the ref, and whether they were there. Raises ``CarboyError`` with git's reason."""
    found = fetch_checkout(op, store, options, say=say, check=check)
    scan = ContextScan(found.folder, cache_dir=f"{store.home.cache}/contexts")
    return ContextView(scan, where=f"the repository {show_url(op.url)}"), found.cached


def fetch_checkout(
    op: Git,
    store: Store,
    options: BuildOptions,
    *,
    say: Callable[[str], None],
    check: Callable[[], None],
    protocols: str = "",
    history: bool = False,
) -> Checkout:
    """Return the checkout of a ref, made where it is not there yet; ``check`` raises when nobody waits for it any more.

    ``protocols`` count in place of those of the network. ``history``: with a .git that has all that leads to the commit, tags
    among it, and nothing else. Raises ``CarboyError`` with git's reason, for what does not fit its
    checksum, and for what leads out of the repository.
    """
    if op.ref and (not _REF.fullmatch(op.ref) or ".." in op.ref):
        raise CarboyError(
            f"{op.ref!r} is not a branch, tag or commit", hint="check what is behind the # of the address"
        )
    repositories = _Repositories(GitProgram(options, protocols=protocols), f"{store.home.cache}/git", check)
    with translate_os_errors("check the repository out"):
        objects, commit = repositories.fetch(op.url, op.ref)
        if op.checksum and not commit.startswith(op.checksum.lower()):
            raise CarboyError(
                f"{show_url(op.url)} is not what its checksum says",
                details=f"expected {op.checksum}\nfound    {commit}",
                hint="the branch has moved on, or the checksum is another commit's",
            )
        suffix = (".all" if op.submodules else "") + (".git" if op.keep_git_dir else "")
        suffix += ".history" if history else ""
        folder = f"{os.path.dirname(objects)}/{commit}{suffix}"
        cached = os.path.isdir(folder)
        if not cached:
            modules = []
            if op.submodules:
                for module in repositories.iter_submodules(op.url, objects, commit):
                    say(f"submodule {module.path.decode('utf-8', 'replace')}: {module.commit}")
                    modules.append(module)
            if history:
                repositories.fetch_all(op.url, objects)
            repositories.make(op, objects, commit, modules, folder, history=history)
        time_s = repositories.read_time(objects, commit)
    return Checkout(folder=_find_folder(folder, op.subdir), commit=commit, time_s=time_s, cached=cached)


class _Repositories:
    """The repositories below a folder of the cache."""

    def __init__(self, git: GitProgram, place: str, check: Callable[[], None]) -> None:
        self._git = git
        self._place = place
        self._check = check

    def fetch(self, url: str, ref: str) -> tuple[str, str]:
        """Return (the bare repository of an address, the commit that ``ref`` is now, which it has)."""
        place = f"{self._place}/{hashlib.sha256(url.encode('utf-8', 'surrogateescape')).hexdigest()}"
        objects = f"{place}/objects.git"
        lock = self._lock(place)
        try:
            with open(f"{place}/url", "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(show_url(url))  # its time is that of the last use
            if not os.path.isdir(objects):
                self._git.run("init", "--quiet", "--bare", "--template=", objects)
            return objects, self._fetch(url, ref, objects)
        finally:
            lock.release()

    def _lock(self, place: str) -> FileLock:
        while True:
            os.makedirs(place, mode=0o700, exist_ok=True)
            lock = FileLock(f"{place}/lock")
            try:
                while not lock.acquire(timeout_s=_POLL_S):
                    self._check()
            except FileNotFoundError:
                continue
            if lock.is_current():
                return lock
            lock.release()  # clean-up has taken the place away

    def _fetch(self, url: str, ref: str, objects: str) -> str:
        git = self._git
        is_commit = _COMMIT.fullmatch(ref) is not None
        is_there = ("--git-dir", objects, "cat-file", "-e", f"{ref}^{{commit}}")
        if is_commit and git.ask(*is_there):
            return ref
        fetch = ("--git-dir", objects, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--force")
        head = ("--git-dir", objects, "rev-parse", "FETCH_HEAD^{commit}")
        try:
            git.run(*fetch, "--depth=1", "--", url, ref or "HEAD")
            return git.run(*head).strip()
        except CarboyError as error:
            if "does not support shallow" in error.details:  # a server of plain files
                git.run(*fetch, "--", url, ref or "HEAD")
                return git.run(*head).strip()
            if not is_commit and not _SHORT.fullmatch(ref):
                raise
        # A server need not give out a commit by its name: then all of it is asked for.
        self._fetch_all(url, objects)
        if not is_commit and git.ask(*is_there):
            return git.run("--git-dir", objects, "rev-parse", f"{ref}^{{commit}}").strip()
        if not git.ask(*is_there):
            raise CarboyError(f"{show_url(url)} has no commit {ref}", hint="check what is behind the # of the address")
        return ref

    def _fetch_all(self, url: str, objects: str) -> None:
        whole = ("--unshallow",) if os.path.exists(f"{objects}/shallow") else ()
        fetch = ("--git-dir", objects, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--force", *whole)
        self._git.run(*fetch, "--", url, "+refs/*:refs/fetched/*")

    def iter_submodules(self, url: str, objects: str, commit: str) -> Iterator[Module]:
        """Yield the submodules of a commit, and theirs."""
        return iter_submodules(
            self._git, url=url, objects=objects, commit=commit, fetch=lambda url, commit: self.fetch(url, commit)[0]
        )

    def read_time(self, objects: str, commit: str) -> int:
        """Return when a commit was made, in seconds since 1970."""
        shown = self._git.run("--git-dir", objects, "show", "--no-patch", "--format=%ct", commit, "--")
        return max(0, int(shown.strip()))

    def fetch_all(self, url: str, objects: str) -> None:
        """Have all that an address has."""
        lock = self._lock(os.path.dirname(objects))
        try:
            self._fetch_all(url, objects)
        finally:
            lock.release()

    def make(
        self, op: Git, objects: str, commit: str, modules: list[Module], folder: str, *, history: bool = False
    ) -> None:
        """Check a commit out, its submodules in their places, and publish the folder by its name."""
        lock = self._lock(os.path.dirname(folder))
        new = f"{folder}~{os.urandom(6).hex()}"
        index = f"{new}.index"
        os.mkdir(new, 0o755)
        try:
            if os.path.isdir(folder):  # another build was quicker
                remove_tree(new)
                return
            self._check_out(objects, commit, new, index)
            for module in modules:
                self._check()
                self._check_out(module.objects, module.commit, _find_place(new, module.path), index)
            if op.keep_git_dir or history:
                self._keep(op, objects, commit, f"{new}/.git", history=history)
            os.rename(new, folder)
        except BaseException:
            remove_tree(new)
            raise
        finally:
            lock.release()

    def _check_out(self, objects: str, commit: str, tree: str, index: str) -> None:
        try:
            self._git.run(
                "--git-dir",
                objects,
                "--work-tree",
                tree,
                "checkout",
                "--quiet",
                "--force",
                commit,
                "--",
                ".",
                index=index,
            )
        finally:
            if os.path.exists(index):
                os.unlink(index)

    def _keep(self, op: Git, objects: str, commit: str, own: str, *, history: bool) -> None:
        """Make the .git of a checkout; with ``history``, that of the commit, and the tags in it."""
        git = self._git
        git.run("init", "--quiet", "--bare", "--template=", own)
        git.run("--git-dir", own, "config", "core.bare", "false")
        git.run("--git-dir", own, "config", "remote.origin.url", show_url(op.url))
        depth = () if history else ("--depth=1",)
        git.run("--git-dir", own, "fetch", "--quiet", "--no-tags", *depth, "--", objects, commit, protocols="file")
        if history:
            wanted = (f"--merged={commit}", "--format=%(refname:lstrip=2)", "refs/fetched/tags")
            tags = git.run("--git-dir", objects, "for-each-ref", *wanted).split()
            for start in range(0, len(tags), _AT_ONCE):
                refs = [f"refs/fetched/{tag}:refs/{tag}" for tag in tags[start : start + _AT_ONCE]]
                git.run("--git-dir", own, "fetch", "--quiet", "--no-tags", "--", objects, *refs, protocols="file")
        git.run("--git-dir", own, "update-ref", "--no-deref", "HEAD", commit)
        git.run("--git-dir", own, "read-tree", commit)  # an index without times of files
        os.unlink(f"{own}/FETCH_HEAD")  # it names a folder of this machine
        os.chmod(own, 0o755)  # noqa: S103


def _find_place(tree: str, path: bytes) -> str:
    """Return the folder that git has made for a submodule; none of what is above it is a link."""
    fd = os.open(tree, _FOLDER)
    try:
        for part in path.split(b"/"):
            inner = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
    finally:
        os.close(fd)
    return f"{tree}/{os.fsdecode(path)}"


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
