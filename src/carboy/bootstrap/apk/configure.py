"""Running the scripts of an Alpine base's packages inside the sandbox, and what they must not leave behind.

Planning is pure; what is run is the image's own shell with a fixed script, whose input (the order of the packages) is written by
:func:`plan_script`. apk runs a script before it unpacks and one after; here all files are there first, so that scripts find
the programs they call, and the packages come in the order that they depend on each other.
"""

from __future__ import annotations

import shlex
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from carboy.bootstrap.apk.members import DIRECTORY, SYMLINK
from carboy.bootstrap.sandbox import run_in_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.bootstrap.apk.members import Entry
    from carboy.bootstrap.apk.unpack import Unpacked
    from carboy.bootstrap.layer import Making

EXEC = "lib/apk/exec"

_PROLOGUE = f"""\
set -eu
umask 022
cd /
script() {{
  package=$1 name=$2
  shift 2
  APK_PACKAGE="$package" APK_SCRIPT="$name" "/{EXEC}/$package.$name" "$@" \\
  || {{ echo "the script $name of $package failed"; exit 1; }}
}}
"""

# What differs from machine to machine or from run to run, and what only costs space. Directories stay.
_CLEAN = f"""\
rm -rf /{EXEC} /var/cache/apk/* /var/cache/misc/* /tmp/* /tmp/.[!.]* /var/tmp/* /root/.cache
rm -f /etc/hostname /etc/resolv.conf /etc/passwd- /etc/shadow- /etc/group- /etc/.pwd.lock /var/log/apk.log
"""


def list_scripts(packages: Sequence[Unpacked]) -> list[tuple[bytes, bytes, int]]:
    """Return the scripts that are run, as files (path, content, mode) of the tree."""
    return [
        (f"{EXEC}/{package.package.name}{name}".encode(), package.control.files[name], 0o700)
        for package in packages
        for name in (".pre-install", ".post-install", ".trigger")
        if name in package.control.files
    ]


def plan_script(packages: Sequence[Unpacked]) -> str:
    """Return the shell script that configures ``packages``, which are unpacked, in their order."""
    lines = [_PROLOGUE]
    for package in packages:
        one = package.package
        if ".pre-install" in package.control.files:
            lines.append(f"script {shlex.join((one.name, 'pre-install', one.version))}\n")
        for entry in list_owned(package):
            # Names of owners are the image's: a script before this may have made them.
            owner = f"{_show(entry.user)}:{_show(entry.group)}"
            lines.append(f"chown -h {shlex.join((owner, '--', '/' + _show(entry.path)))}\n")
            if entry.kind != SYMLINK:
                lines.append(f"chmod {shlex.join((f'{entry.mode:04o}', '--', '/' + _show(entry.path)))}\n")
        if ".post-install" in package.control.files:
            lines.append(f"script {shlex.join((one.name, 'post-install', one.version))}\n")
    folders = sorted({f"/{_folder(entry)}" for package in packages for entry in package.passed.entries})
    for package in packages:
        patterns = " ".join(package.control.info.get("triggers", ())).split()
        found = [folder for folder in folders if any(fnmatchcase(folder, pattern.lstrip("+")) for pattern in patterns)]
        if found and ".trigger" in package.control.files:
            lines.append(f"script {shlex.join((package.package.name, 'trigger', *found))}\n")
    return "".join([*lines, _CLEAN])


def list_owned(package: Unpacked) -> list[Entry]:
    """Return the members of a package that do not belong to root, and have an owner by name."""
    return [
        entry
        for entry in package.passed.entries
        if entry.user and entry.group and (entry.user, entry.group) != (b"root", b"root")
    ]


def plan_environment(*, epoch_s: int) -> tuple[str, ...]:
    """Return the environment of the script: nothing of the host's, and everything that makes two runs alike."""
    return (
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "LC_ALL=C",
        f"SOURCE_DATE_EPOCH={epoch_s}",
    )


def configure_tree(tree_dir: str, packages: Sequence[Unpacked], *, making: Making, epoch_s: int) -> None:
    """Configure the packages unpacked in ``tree_dir``, in place, without a network.

    Raises ``ConfigureError`` when a script fails.
    """
    run_in_tree(tree_dir, plan_script(packages), env=plan_environment(epoch_s=epoch_s), making=making)


def _folder(entry: Entry) -> str:
    return _show(entry.path if entry.kind == DIRECTORY else entry.path.rpartition(b"/")[0])


def _show(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
