"""Configuring an unpacked base inside the sandbox: the packages' own scripts, then what they must not leave behind.

Planning is pure; the one program that is run is the image's own shell with a fixed script, whose input (the order of
the packages) is written by :func:`plan_script`.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from carboy.bootstrap.sandbox import run_in_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.bootstrap.deb.database import Unpacked
    from carboy.bootstrap.layer import Making


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

# A database of nobody's would have an identity of its own in each image, and the same in all of its containers: whoever runs
# the server makes one (pg_createcluster(1), createcluster.conf).
_DATABASES = "postgresql-common"
_NO_CLUSTER = """\
mkdir -p /etc/postgresql-common
printf 'create_main_cluster = false\\n' > /etc/postgresql-common/createcluster.conf
export UCF_FORCE_CONFFOLD=1
"""

_CONFIGURE = """\
dpkg --force-unsafe-io --force-confold --configure --pending
"""

# What differs from machine to machine or from run to run (keys of a server, too: all who have the image would have them), and
# what only costs space. Directories stay.
CLEAN = """\
rm -f /usr/sbin/policy-rc.d
rm -f /etc/hostname /etc/resolv.conf /etc/passwd- /etc/shadow- /etc/group- /etc/gshadow- /etc/subuid- /etc/subgid- \\
  /etc/.pwd.lock /etc/ld.so.cache~ /etc/mtab.tmp
: > /etc/machine-id
chmod 444 /etc/machine-id
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb /var/cache/ldconfig/aux-cache \\
  /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/lib/dpkg/lock* /var/lib/dpkg/triggers/Lock \\
  /var/lib/systemd/random-seed /var/lib/dbus/machine-id /var/backups/* /var/cache/man/* /var/cache/fontconfig/* \\
  /tmp/* /tmp/.[!.]* /var/tmp/* /root/.cache /etc/ssh/ssh_host_*_key* \
  /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem
if [ -d /etc/ssl/certs ]; then find /etc/ssl/certs -lname ssl-cert-snakeoil.pem -delete; fi
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
    if any(package.name == _DATABASES for package in packages):
        lines.append(_NO_CLUSTER)
    return "".join([*lines, _CONFIGURE, CLEAN])


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


def configure_tree(tree_dir: str, packages: Sequence[Unpacked], *, making: Making, epoch_s: int) -> None:
    """Configure the packages unpacked in ``tree_dir``, in place, without a network.

    Raises ``ConfigureError`` when a script fails.
    """
    run_in_tree(tree_dir, plan_script(packages), env=plan_environment(epoch_s=epoch_s), making=making)
