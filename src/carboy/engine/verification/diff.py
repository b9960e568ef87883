"""``carboy diff A B``: what two images have in packages, settings and files that the other has not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.attest.scan import scan
from carboy.base.fs import translate_os_errors
from carboy.comparison.documents import PackageChange, Setting, compare_configs, compare_packages
from carboy.comparison.files import FileDifference, compare_files, merge_layers
from carboy.comparison.images import Side
from carboy.comparison.reading import read_layer
from carboy.engine.images import resolve_image
from carboy.images.output.files import list_trees
from carboy.images.platforms import choose_manifest

if TYPE_CHECKING:
    from carboy.attest.packages import Package
    from carboy.comparison.files import Files
    from carboy.engine.context import Engine
    from carboy.oci.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDiff:
    """Two images' manifests, and what differs from the left one to the right one; ``shared`` of so many layers both have."""

    left: Digest
    right: Digest
    shared: int
    layers: tuple[int, int]
    packages: tuple[PackageChange, ...]
    settings: tuple[Setting, ...]
    files: tuple[FileDifference, ...]

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.packages or self.settings or self.files)


def diff_images(engine: Engine, left: str, right: str) -> ImageDiff:
    """Return what differs between two images of this home, of this machine's platform. Raises ``CarboyError``."""
    with engine.store.lease("diff"):
        one, other = _find(engine, left), _find(engine, right)
        read: dict[Digest, Files] = {}
        trees = (_read_files(one, read), _read_files(other, read))
        configs = (one.read()[1], other.read()[1])
        ids = tuple(config.diff_ids for config in configs)
        return ImageDiff(
            left=one.descriptor.digest,
            right=other.descriptor.digest,
            shared=len({*ids[0]} & {*ids[1]}),
            layers=(len(ids[0]), len(ids[1])),
            packages=compare_packages(_scan(engine, one), _scan(engine, other)),
            settings=compare_configs(configs[0].raw, configs[1].raw),
            files=compare_files(*trees),
        )


def _find(engine: Engine, name: str) -> Side:
    return Side(store=engine.store, descriptor=choose_manifest(engine.store, resolve_image(engine, name), name=name))


def _read_files(side: Side, read: dict[Digest, Files]) -> Files:
    """Return the files of an image; a layer that both have is read once."""
    manifest, config = side.read()
    for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
        if diff_id not in read:
            read[diff_id] = read_layer(side.store, layer.digest)
    return merge_layers(read[diff_id] for diff_id in config.diff_ids)


def _scan(engine: Engine, side: Side) -> tuple[Package, ...]:
    with translate_os_errors("read the image's packages"):
        return scan([tree for tree, _ in list_trees(engine.store, side.descriptor)])[1]
