"""Configuring an unpacked base inside the sandbox: the packages' own scripts, then what they must not leave behind.

Planning is pure; the one program that is run is the image's own shell with a fixed script, whose input (the order of
the packages) is written by :func:`plan_script`.
"""

from __future__ import annotations

import os
import shlex
from collections import deque
from typing import TYPE_CHECKING, Protocol

from carboy.bootstrap.errors import ConfigureError
from carboy.runtime.native.launch import Stdio
from carboy.runtime.spec import DirectoryRoot, SandboxSpec, default_capabilities
from carboy.snapshots.snapshot import open_container

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.base.home import Home
    from carboy.bootstrap.database import Unpacked
    from carboy.bootstrap.progress import Progress
    from carboy.linux.identity import Tier


class Runtime(Protocol):
    """Runs sandboxes."""

    def run(self, spec: SandboxSpec, stdio: Stdio) -> int:
        """Run one sandbox to its end and return its exit status."""


# Everyone's account data comes from base-passwd, before any other script may ask for a name.
_FIRST = ("base-passwd", "base-files")

_PROLOGUE = """\
set -eu
umask 022
cd /
if [ ! -e /bin/sh ]; then ln -s dash /bin/sh; fi
mkdir -p /var/lib/dpkg/updates /var/lib/dpkg/parts /var/lib/dpkg/alternatives /usr/sbin
printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
preinst() {
  DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE="$1" DPKG_MAINTSCRIPT_ARCH="$2" \\
  DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 DPKG_MAINTSCRIPT_DEBUG=0 DPKG_RUNNING_VERSION="$version" \\
  DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= "/var/lib/dpkg/info/$3.preinst" install \\
  || { echo "the script preinst of $1 failed"; exit 1; }
}
"""

_CONFIGURE = """\
dpkg --force-unsafe-io --force-confold --configure --pending
"""

# What differs from machine to machine or from run to run, and what only costs space. Directories stay.
_CLEAN = """\
rm -f /usr/sbin/policy-rc.d
rm -f /etc/hostname /etc/resolv.conf /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid- \\
  /etc/.pwd.lock /etc/ld.so.cache~ /etc/mtab.tmp
: > /etc/machine-id
chmod 444 /etc/machine-id
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/cache/ldconfig/aux-cache \\
  /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/lib/dpkg/lock* /var/lib/dpkg/triggers/Lock \\
  /var/lib/systemd/random-seed /var/lib/dbus/machine-id /var/backups/* /var/cache/man/* /var/cache/fontconfig/* \\
  /tmp/* /tmp/.[!.]* /var/tmp/* /root/.cache /etc/ssh/ssh_host_*_key*
find /var/log /run -xdev ! -type d -delete
"""


def order_scripts(packages: Sequence[Unpacked]) -> list[Unpacked]:
    """Return the packages in the order that their preinst scripts run in."""
    return sorted(packages, key=lambda package: _FIRST.index(package.name) if package.name in _FIRST else len(_FIRST))


def plan_script(packages: Sequence[Unpacked]) -> str:
    """Return the shell script that configures ``packages``, which are unpacked, in the order they depend on each other.

    dpkg runs a preinst before it unpacks; here all files are there first, so that scripts find the programs they call.
    """
    version = next((package.version for package in packages if package.name == "dpkg"), "1.20")
    lines = [f"version={shlex.quote(version)}\n", _PROLOGUE]
    for package in order_scripts(packages):
        if "preinst" in package.control:
            lines.append(f"preinst {shlex.join((package.name, package.architecture, package.stem))}\n")
    return "".join([*lines, _CONFIGURE, _CLEAN])


def plan_environment(*, epoch_s: int) -> tuple[str, ...]:
    """Return the environment of the script: nothing of the host's, and everything that makes two runs alike."""
    return (
        "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME=/root",
        "LC_ALL=C",
        "DEBIAN_FRONTEND=noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN=true",
        "PYTHONHASHSEED=0",
        f"SOURCE_DATE_EPOCH={epoch_s}",
    )


def configure_tree(
    tree_dir: str,
    packages: Sequence[Unpacked],
    *,
    home: Home,
    runtime: Runtime,
    tier: Tier,
    epoch_s: int,
    progress: Progress,
) -> None:
    """Configure the packages unpacked in ``tree_dir``, in place, without a network.

    Raises ``ConfigureError`` when a script fails. What the scripts print goes to ``progress`` line by line, and
    its end into the error.
    """
    output = _Output(progress)
    container_id = os.urandom(32).hex()
    with open_container(home, container_id):
        spec = SandboxSpec(
            id=container_id,
            root=DirectoryRoot(path=tree_dir),
            args=("/bin/sh", "-c", plan_script(packages)),
            env=plan_environment(epoch_s=epoch_s),
            cwd="/",
            user="0:0",
            hostname="localhost",
            network="none",
            capabilities=default_capabilities("build"),
            tier=tier.name,
            id_count=tier.id_count,
        )
        status = runtime.run(spec, Stdio(capture=output.write))
    output.flush()
    if status:
        raise ConfigureError(
            "the base's packages could not be configured",
            details="\n".join([*output.tail, f"exit status {status}"]),
            hint=output.find_hint(),
        )


class _Output:
    """What the scripts print: passed on by lines, the last ones kept."""

    def __init__(self, progress: Progress) -> None:
        self.tail: deque[str] = deque(maxlen=30)
        self._progress = progress
        self._rest = b""

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace").rstrip()
            self.tail.append(text)
            self._progress.log(text)

    def flush(self) -> None:
        if self._rest:
            self.write(b"\n")

    def find_hint(self) -> str:
        full = any("No space left on device" in line or "Disk quota exceeded" in line for line in self.tail)
        return "the disk is full: free some space, or `carboy system prune`" if full else ""
