"""What an image is made of, as its own files say it: ``carboy sbom`` and ``carboy licenses``. Nothing of it is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import carboy
from carboy.attest import cyclonedx, spdx
from carboy.attest.scan import scan
from carboy.base.fs import translate_os_errors
from carboy.engine.images import read_config, resolve_image
from carboy.engine.platforms import read_platform
from carboy.images.output.files import list_trees
from carboy.images.platforms import choose_manifest

if TYPE_CHECKING:
    from carboy.attest.packages import Package, System
    from carboy.engine.context import Engine
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.digest import Digest

UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The packages of one image: ``image`` is its manifest, ``name`` as it was asked for, ``created`` its RFC 3339 time."""

    image: Digest
    name: str
    created: str
    system: System
    packages: tuple[Package, ...]

    def as_spdx(self) -> dict[str, Any]:
        """Return it as SPDX 2.3: what ``build --sbom`` keeps beside the image, with the licences of Debian's packages."""
        tool = f"carboy-{carboy.__version__}"
        return spdx.make_sbom(
            self.packages, self.system, image=self.image, name=self.name, created=self.created, tool=tool
        )

    def as_cyclonedx(self) -> dict[str, Any]:
        """Return it as CycloneDX 1.6."""
        return cyclonedx.make_bom(
            self.packages, self.system, image=self.image, name=self.name, created=self.created,
            version=carboy.__version__,
        )  # fmt: skip

    def as_licences(self) -> list[dict[str, Any]]:
        """Return the packages of :meth:`group_by_licence` as JSON values."""
        return [
            {"licence": licence, "packages": [{"kind": p.kind, "name": p.name, "version": p.version} for p in packages]}
            for licence, packages in self.group_by_licence().items()
        ]

    def group_by_licence(self) -> dict[str, list[Package]]:
        """Return the packages by what is said of their licence, by name; those of which nothing is said at the end."""
        groups: dict[str, list[Package]] = {}
        for package in self.packages:
            groups.setdefault(package.licence or package.licence_text or UNKNOWN, []).append(package)
        return dict(sorted(groups.items(), key=lambda item: (item[0] == UNKNOWN, item[0].lower())))


def take_inventory(engine: Engine, name: str, *, platform: str = "") -> Inventory:
    """Return what the image ``name`` has, of the platform asked for, else this machine's. Raises ``CarboyError``."""
    store = engine.store
    with store.lease("inventory"):
        wanted = read_platform(platform) if platform else None
        descriptor = choose_manifest(store, resolve_image(engine, name), platform=wanted, name=name)
        return scan_image(engine, descriptor, name=name)


def scan_image(engine: Engine, image: Descriptor, *, name: str, leaves_as: Digest | None = None) -> Inventory:
    """Return what an image of one platform has, told of it under ``leaves_as`` where its layers leave in another compression.

    The caller holds a lease. Raises ``CarboyError``.
    """
    config = read_config(engine, image)
    with translate_os_errors("read the image's packages"):
        system, packages = scan([tree for tree, _ in list_trees(engine.store, image)], copyrights=True)
    digest = leaves_as or image.digest
    return Inventory(image=digest, name=name, created=config.created, system=system, packages=packages)
