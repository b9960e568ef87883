"""Names of containers: one owner each, found without reading every container."""

from __future__ import annotations

import fcntl
import os

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from carboy.base.home import Home

_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_REST = _FIRST | frozenset("_.-")
MAX_NAME = 128
_ADJECTIVES = (
    "able amber brave breezy bright brisk calm candid clear clever cosmic crisp curious daring deep deft eager "
    "early earnest easy fair fast fine fond free fresh gentle glad golden good grand green happy hardy honest "
    "humble ideal jolly keen kind lively loyal lucid lucky mellow merry mighty modest neat nimble noble patient "
    "plain polite proud quick quiet rapid ready rosy serene sharp silver simple smart snug solid sound spry "
    "steady still strong sunny sure swift tidy true vivid warm wise witty young zesty"
)
_PEOPLE = (
    "abel agnesi airy babbage banach bayes bernoulli blackwell boole bose box cantor cauchy chebyshev cox cramer "
    "curie darwin dempster dirichlet efron euclid euler fermat feynman fisher fourier franklin galois galton "
    "gauss germain gibbs godel gosset hamming hilbert hopper hotelling huygens hypatia jacobi johnson kolmogorov "
    "kovalevskaya lagrange laplace legendre leibniz lovelace markov maxwell mendel nash neumann neyman "
    "nightingale noether pascal pearson peirce poincare poisson polya quetelet ramanujan rao riemann savage "
    "shannon sobolev somerville spearman tukey turing venn wald weibull wiener wright yates yule"
)


def check_name(name: str) -> None:
    """Raise ``CarboyError`` (125) unless this can be a container's name: letters, digits, and behind the first also _ . -"""
    if not 2 <= len(name) <= MAX_NAME or name[0] not in _FIRST or not _REST.issuperset(name):
        raise CarboyError(
            f"{name[:MAX_NAME]!r} cannot be a container's name",
            hint="use 2 to 128 letters and digits, and behind the first also _ . -",
            code=125,
        )


def claim_name(home: Home, container_id: str, name: str | None) -> str:
    """Give a container a name, or one that is made up when ``name`` is None, and return it.

    Atomic: of two that ask for the same name at once one gets it. Raises ``CarboyError`` (125) when it is in use.
    """
    if name is not None:
        check_name(name)
        owner = _claim(home, container_id, name)
        if owner is not None:
            raise CarboyError(
                f"the name {name} is in use by the container {owner[:12]}",
                hint=f"take another name, or `carboy rm {name}` (`carboy rename {name} OTHER` keeps it)",
                code=125,
            )
        return name
    adjectives, people = _ADJECTIVES.split(), _PEOPLE.split()
    for attempt in range(1000):
        number = int.from_bytes(os.urandom(4), "little")
        adjective = adjectives[number % len(adjectives)]
        person = people[number // len(adjectives) % len(people)]
        name = f"{adjective}_{person}" if attempt < 10 else f"{adjective}_{person}{number % 1000}"
        if _claim(home, container_id, name) is None:
            return name
    raise CarboyError("no name is left", hint="remove containers: `carboy container prune`", code=125)


def _claim(home: Home, container_id: str, name: str) -> str | None:
    """Make the link; returns the id of the living owner when the name is taken."""
    path = f"{home.names}/{name}"
    for _ in range(100):
        try:
            os.symlink(container_id, path)
        except FileExistsError:
            owner = find_owner(home, name) or _sweep(home, name)
            if owner is not None:
                return owner
        else:
            return None
    return "somebody"


def _sweep(home: Home, name: str) -> str | None:
    """Take away the link of a container that is gone; returns the owner when it has a living one."""
    folder = _lock(home)
    try:
        owner = find_owner(home, name)
        if owner is None and os.path.islink(f"{home.names}/{name}"):
            owner = find_owner(home, name)  # again: the first answer may have been that of no link at all
            if owner is None:
                _unlink(home, name)
        return owner
    finally:
        os.close(folder)


def _lock(home: Home) -> int:
    """Wait until no other process takes links away; the lock goes with the descriptor.

    A link cannot be made over another, so with the lock held the one that was looked at is the one that is taken away:
    without it, a new container's link could be taken for the dead one that it followed.
    """
    folder = os.open(home.names, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(folder, fcntl.LOCK_EX)
    return folder


def _unlink(home: Home, name: str) -> None:
    try:
        os.unlink(f"{home.names}/{name}")
    except OSError:
        return


def remove_stale_names(home: Home) -> None:
    """Take away the names of containers that are gone, whoever makes others meanwhile: a folder is there before its name.

    Quick, for every start does this: one readlink(2) for a name, and the lock only where there is something to take away.
    """
    names = os.listdir(home.names)
    if not names:
        return
    folders = set(os.listdir(home.containers))  # behind the names, so that a new one's folder is among them
    for name in names:
        try:
            is_stale = os.readlink(f"{home.names}/{name}") not in folders
        except OSError:
            continue
        if is_stale:
            _sweep(home, name)


def find_owner(home: Home, name: str) -> str | None:
    """Return the id of the container that has the name; None when there is none."""
    try:
        owner = os.readlink(f"{home.names}/{name}")
    except (FileNotFoundError, OSError):
        return None
    return owner if os.path.isdir(f"{home.containers}/{owner}") else None


def release_name(home: Home, name: str, *, owner: str) -> None:
    """Let a name go when it is ``owner``'s; when it is not, nothing is done."""
    _release(home, [name], owner)


def release_claimed(home: Home, name: str, *, owner: str) -> None:
    """Let go of the name that :func:`claim_name` gave, "" where it was interrupted before it could say which."""
    if name:
        release_name(home, name, owner=owner)
    else:
        release_names(home, owner)


def release_names(home: Home, owner: str) -> None:
    """Let go of every name of a container: a rename that was killed half-way leaves it two."""
    _release(home, os.listdir(home.names), owner)


def _release(home: Home, names: Iterable[str], owner: str) -> None:
    folder = _lock(home)
    try:
        for name in names:
            try:
                is_owners = os.readlink(f"{home.names}/{name}") == owner
            except OSError:
                continue
            if is_owners:
                _unlink(home, name)
    finally:
        os.close(folder)


def read_name(folder: str) -> str:
    """Return the name of the container of a folder, "" when it has none."""
    try:
        with open(f"{folder}/name", encoding="utf-8") as file:
            return file.read(200).strip()
    except OSError:
        return ""


def write_name(folder: str, name: str) -> None:
    """Note the name of a container in its folder, at once for whoever reads it. Raises ``OSError``."""
    from carboy.containers.record import replace_file  # `exec` looks a name up, and needs no records

    replace_file(f"{folder}/name", f"{name}\n".encode())
