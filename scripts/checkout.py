"""An environment for this checkout: made when it is missing, brought up to date when it is old, reused otherwise.

Python's standard library only, and nothing but Python is needed: not ensurepip, which Debian packs on its own, and not
pip. Everything that is installed is pinned with hashes in ``requirements/*.lock``; where packages come from is left to
pip and its configuration (index, proxy, certificates), as always.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHECKOUT = Path(__file__).resolve().parent.parent
STAMP = "carboy-checkout.json"
OLDEST_PYTHON = (3, 11)
DEBIAN_WHEELS = Path("/usr/share/python-wheels")


class SetupError(Exception):
    """The environment cannot be made; the text says what to do about it."""


def main_python() -> None:
    """Go on under a Python that is new enough; raises ``SetupError`` when this machine has none."""
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return
    for minor in range(19, OLDEST_PYTHON[1] - 1, -1):
        found = shutil.which(f"python3.{minor}")
        if found:
            os.execv(found, [found, *sys.argv])  # the same script under another Python
    raise SetupError("Python 3.11 or newer is needed; python3 is older and there is no python3.11 on the PATH")


def open_environment(lock: str, environ: Mapping[str, str]) -> Path:
    """Return the directory of an environment that holds ``requirements/<lock>.lock`` and carboy as it stands here."""
    place = find_place(CHECKOUT, environ)
    place.parent.mkdir(parents=True, exist_ok=True)
    # The lock is on the folder above, so that none has to be left lying about.
    held = os.open(place.parent, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        _bring_up_to_date(place, lock, environ)
    finally:
        os.close(held)
    return place


def find_place(checkout: Path, environ: Mapping[str, str]) -> Path:
    """Return where the environment of this user and checkout belongs.

    ``.venv`` in the checkout, unless somebody else made that one or the checkout cannot be written: then a place of its
    own in the user's cache.
    """
    if environ.get("CARBOY_VENV"):
        return Path(environ["CARBOY_VENV"]).absolute()
    inside = checkout / ".venv"
    if _is_ours(inside) if inside.exists() else os.access(checkout, os.W_OK):
        return inside
    cache = Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "carboy" / "checkouts" / hashlib.sha256(os.fsencode(checkout)).hexdigest()[:16]


def _is_ours(place: Path) -> bool:
    stamp = place / STAMP
    return stamp.exists() and stamp.stat().st_uid == os.getuid() and os.access(place, os.W_OK)


def _bring_up_to_date(place: Path, lock: str, environ: Mapping[str, str]) -> None:
    python = [sys.version, os.path.realpath(sys.executable)]
    stamp = _read_stamp(place)
    if stamp.get("python") != python:
        if place.exists() and not _is_ours(place):
            raise SetupError(f"{place} exists and was not made by this script; set CARBOY_VENV to another folder")
        _say(f"making an environment in {place}")
        _make(place, environ)
        stamp = {"python": python, "locks": [], "package": ""}
        _write_stamp(place, stamp)
    lock_file = CHECKOUT / "requirements" / f"{lock}.lock"
    digest = hashlib.sha256(lock_file.read_bytes()).hexdigest()
    if digest not in stamp["locks"]:
        _say(f"installing the packages that requirements/{lock}.lock pins")
        _pip(place, ["install", "-qq", "--require-hashes", "--no-deps", "--requirement", str(lock_file)], environ)
        stamp["locks"] = [*stamp["locks"][-3:], digest]
        _write_stamp(place, stamp)
    package = _package_digest(CHECKOUT)
    # The stamp says what was installed, not that nobody has removed it since.
    if stamp["package"] != package or not (place / "bin" / "carboy").exists():
        _say("installing carboy from this checkout")
        options = ["-qq", "--no-index", "--no-deps", "--no-build-isolation", "--force-reinstall"]
        _pip(place, ["install", *options, str(CHECKOUT)], environ)
        stamp["package"] = package
        _write_stamp(place, stamp)


def _read_stamp(place: Path) -> dict[str, list[str] | str]:
    try:
        value: dict[str, list[str] | str] = json.loads((place / STAMP).read_text())
    except (OSError, ValueError):
        return {}
    return value


def _write_stamp(place: Path, stamp: Mapping[str, object]) -> None:
    temporary = place / f"{STAMP}.new"
    temporary.write_text(json.dumps(stamp, indent=1) + "\n")
    temporary.replace(place / STAMP)


def _package_digest(checkout: Path) -> str:
    found = hashlib.sha256()
    sources = (path for path in (checkout / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    for path in sorted([*sources, checkout / "pyproject.toml"]):
        found.update(os.fsencode(path.relative_to(checkout)) + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()


def _make(place: Path, environ: Mapping[str, str]) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    _write_stamp(place, {})  # an environment that is cut off half-way is still known as ours, and made again
    has_ensurepip = importlib.util.find_spec("ensurepip") is not None
    options = [] if has_ensurepip else ["--without-pip"]
    _run([sys.executable, "-I", "-m", "venv", *options, str(place)], environ)
    if has_ensurepip:
        return
    with tempfile.TemporaryDirectory(prefix="carboy-pip-") as folder:
        wheel = find_pip(Path(folder), environ)
        # A wheel is a zip archive, and pip is able to run from one: that is how ensurepip does it as well.
        install = ["install", "-qq", "--no-index", "--no-deps", str(wheel)]
        _run([str(place / "bin" / "python"), "-I", f"{wheel}/pip", *install], environ)


def find_pip(folder: Path, environ: Mapping[str, str]) -> Path:
    """Return a wheel of pip, fetched into ``folder`` where this machine has none: by its own pip, or by its own apt.

    Both check what they fetch (an index over TLS, an archive by its signature), and both know where to ask.
    """
    found = sorted(DEBIAN_WHEELS.glob("pip-*.whl"))
    if found:
        return found[-1]
    if importlib.util.find_spec("pip") is not None:
        _run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), "pip"], environ)
    elif shutil.which("apt-get") and shutil.which("dpkg-deb"):
        _fetch_from_debian(folder, environ)
    found = sorted(folder.rglob("pip-*.whl"))
    if not found:
        raise SetupError("this Python has no pip and no ensurepip: install python3-venv, or pip, and try again")
    return found[-1]


def _fetch_from_debian(folder: Path, environ: Mapping[str, str]) -> None:
    """Fetch and unpack Debian's package of pip's wheel; installs nothing, and works as any user.

    ``apt-get`` is told to keep its lists in ``folder``, because those of a new machine are empty and belong to root.
    """
    _say("fetching pip with apt-get (nothing is installed on the system)")
    for name in ("lists/partial", "archives/partial"):
        (folder / name).mkdir(parents=True)
    settings = [
        f"Dir::State::lists={folder}/lists",
        f"Dir::Cache={folder}",
        "Dir::Cache::pkgcache=",
        "Dir::Cache::srcpkgcache=",
        "Acquire::Languages=none",
        "APT::Sandbox::User=",
        "Debug::NoLocking=true",
    ]
    apt_get = ["apt-get", "--quiet=2", *(word for setting in settings for word in ("-o", setting))]
    _run([*apt_get, "update"], environ)
    _run([*apt_get, "download", "python3-pip-whl"], environ, folder=folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg-deb", "--extract", str(package), str(folder)], environ)


def _pip(place: Path, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
    settings = {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if environ.get("SSL_CERT_FILE") and not environ.keys() & {"PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}:
        settings["PIP_CERT"] = environ["SSL_CERT_FILE"]  # pip does not look at this one by itself
    _run([str(place / "bin" / "python"), "-I", "-m", "pip", *arguments], {**environ, **settings})


def _run(command: Sequence[str], environ: Mapping[str, str], *, folder: Path | None = None) -> None:
    # Standard output belongs to the program that is started in the end.
    done = subprocess.run(command, env=dict(environ), cwd=folder, stdout=sys.stderr, check=False)
    if done.returncode:
        raise SetupError(f"`{' '.join(command[:6])} ...` ended with status {done.returncode}")


def _say(text: str) -> None:
    print(f"carboy: {text}", file=sys.stderr, flush=True)
