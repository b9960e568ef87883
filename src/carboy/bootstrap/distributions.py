"""The distributions that bases are made from: data. Pure.

Addresses are public mirrors; a machine's own come from its apt, ``[archives]`` in config.toml of the home, or an option.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from carboy.bootstrap.errors import RecipeError

KEYRINGS = "/usr/share/keyrings"


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One distribution and its archive.

    ``suites`` maps the suites that are known to their versions, ``aliases`` further names to suites, ``architectures`` OCI's
    names to the distribution's own. ``mirror`` is a public one, ``ports_mirror`` the one of the architectures that are not in
    ``main_architectures`` ("" where one has all). ``directories`` are the last parts of such addresses. ``security`` says
    where security updates are: "beside" the archive (Debian's), in the "same" one (Ubuntu's), or "" where there is no suite
    for them. ``keyring`` is the file of keys in its bases, and on hosts that have ``keyring_package``; ``brought`` says that
    carboy has these keys itself. ``command`` is what a base starts.
    """

    name: str
    title: str
    format: str
    suites: Mapping[str, str]
    aliases: Mapping[str, str]
    default: str
    architectures: Mapping[str, str]
    mirror: str
    ports_mirror: str = ""
    main_architectures: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    security: str = ""
    components: tuple[str, ...] = ("main",)
    keyring: str = ""
    keyring_package: str = ""
    brought: bool = False
    command: str = "bash"
    unversioned: frozenset[str] = field(default_factory=frozenset)

    def find_suite(self, name: str) -> str | None:
        """Return the suite that ``name`` (codename, version or alias) means, None for one that is not known."""
        suite = self.aliases.get(name, name)
        return suite if suite in self.suites else None

    def find_mirror(self, architecture: str) -> str:
        """Return the public address for an architecture (the distribution's name of it)."""
        return self.mirror if not self.ports_mirror or architecture in self.main_architectures else self.ports_mirror


def _aliases(suites: Mapping[str, str], **others: str) -> dict[str, str]:
    return {**{version: codename for codename, version in suites.items()}, **others}


_DEB_ARCHITECTURES = {
    "amd64": "amd64",
    "arm64": "arm64",
    "arm": "armhf",
    "386": "i386",
    "ppc64le": "ppc64el",
    "s390x": "s390x",
    "riscv64": "riscv64",
}
# Codename to version number: Debian's are the suites whose archive keys are in keys/.
_DEBIAN = {"bullseye": "11", "bookworm": "12", "trixie": "13"}
_UBUNTU = {"focal": "20.04", "jammy": "22.04", "noble": "24.04"}
# Alpine's branches have no other names; "edge" is the one under way.
_ALPINE = {**{f"3.{minor}": f"3.{minor}" for minor in range(17, 24)}, "edge": "edge"}

DISTRIBUTIONS: Mapping[str, Distribution] = {
    one.name: one
    for one in (
        Distribution(
            name="debian",
            title="Debian",
            format="deb",
            suites=_DEBIAN,
            aliases=_aliases(_DEBIAN, oldoldstable="bullseye", oldstable="bookworm", stable="trixie", latest="trixie"),
            default="bookworm",
            architectures=_DEB_ARCHITECTURES,
            mirror="https://mirrors.edge.kernel.org/debian",
            directories=("debian",),
            security="beside",
            keyring=f"{KEYRINGS}/debian-archive-keyring.gpg",
            keyring_package="debian-archive-keyring",
            brought=True,
            unversioned=frozenset({"testing", "sid", "unstable"}),
        ),
        Distribution(
            name="ubuntu",
            title="Ubuntu",
            format="deb",
            suites=_UBUNTU,
            aliases=_aliases(_UBUNTU, latest="noble"),
            default="noble",
            architectures=_DEB_ARCHITECTURES,
            mirror="http://archive.ubuntu.com/ubuntu",
            ports_mirror="http://ports.ubuntu.com/ubuntu-ports",
            main_architectures=("amd64", "i386"),
            directories=("ubuntu", "ubuntu-ports"),
            security="same",
            components=("main", "universe"),
            keyring=f"{KEYRINGS}/ubuntu-archive-keyring.gpg",
            keyring_package="ubuntu-keyring",
        ),
        Distribution(
            name="alpine",
            title="Alpine",
            format="apk",
            suites=_ALPINE,
            aliases={"3": "3.23", "latest": "3.23"},
            default="3.20",
            architectures={
                "amd64": "x86_64",
                "arm64": "aarch64",
                "arm": "armv7",
                "386": "x86",
                "ppc64le": "ppc64le",
                "s390x": "s390x",
                "riscv64": "riscv64",
            },
            mirror="https://dl-cdn.alpinelinux.org/alpine",
            directories=("alpine",),
            components=("main", "community"),
            keyring="/etc/apk/keys",
            keyring_package="alpine-keys",
            command="sh",
        ),
    )
}


def find_distribution(name: str) -> Distribution:
    """Return a distribution by its name. Raises ``RecipeError`` with those that are known."""
    if name not in DISTRIBUTIONS:
        raise RecipeError(f"unknown distribution {name!r}", hint=f"carboy knows {', '.join(DISTRIBUTIONS)}")
    return DISTRIBUTIONS[name]
