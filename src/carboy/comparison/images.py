"""Two images compared on three levels: the manifest's digest, the layers, and the files of the layers that differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import TYPE_CHECKING

from carboy.comparison.documents import Setting, compare_configs
from carboy.comparison.files import FileDifference, compare_files, is_reordered
from carboy.comparison.reading import read_contents, read_layer
from carboy.comparison.reasons import Surroundings, explain_all
from carboy.oci.config import parse_config
from carboy.oci.manifest import parse_manifest

if TYPE_CHECKING:
    from carboy.oci.config import ImageConfig
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.digest import Digest
    from carboy.oci.manifest import Manifest
    from carboy.store.store import Store

IDENTICAL, COMPRESSION, ARCHIVE, DIFFERENT = "identical", "compression", "archive", "different"
EQUAL = frozenset({IDENTICAL, COMPRESSION, ARCHIVE})
MEANINGS: Mapping[str, str] = {
    IDENTICAL: "the manifests are the same, byte by byte",
    COMPRESSION: "equal up to compression: configuration and uncompressed layers are the same, byte by byte",
    ARCHIVE: "all layers are the same, byte by byte; the distribution's archive says of itself that it is newer now",
    DIFFERENT: "they differ",
}
_ARCHIVE_LABEL = "config.Labels.io.carboy.archive."
MAX_EXPLAINED = 500
"""How many files of a layer are looked into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two images: the store that has it, and its manifest."""

    store: Store
    descriptor: Descriptor

    def read(self) -> tuple[Manifest, ImageConfig]:
        """Return manifest and configuration, verified. Raises ``CarboyError``."""
        manifest = parse_manifest(self.store.blobs.read(self.descriptor.digest))
        return manifest, parse_config(self.store.blobs.read(manifest.config.digest))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDifference:
    """A layer that differs: its number from 1, what made it, the diff ids ("" where a side has none), and its files.

    ``note`` is what is to be said of it as a whole: another order of members, or that none of its files differs.
    """

    number: int
    title: str
    left: str
    right: str
    files: tuple[FileDifference, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageComparison:
    """What came of it: ``level`` is one of :data:`MEANINGS`; ``layer_count`` how many there are, ``settings`` and ``layers`` what
    differs.
    """

    left: Digest
    right: Digest
    level: str
    layer_count: int
    settings: tuple[Setting, ...] = field(default=())
    layers: tuple[LayerDifference, ...] = field(default=())

    @property
    def is_equal(self) -> bool:
        """Whether the images are the same for all that counts."""
        return self.level in EQUAL


def judge(*, same_manifest: bool, settings: tuple[Setting, ...], same_layers: bool) -> str:
    """Return the level on which two images are the same. Pure."""
    if same_manifest:
        return IDENTICAL
    if not same_layers:
        return DIFFERENT
    if not settings:
        return COMPRESSION
    return ARCHIVE if all(one.name.startswith(_ARCHIVE_LABEL) for one in settings) else DIFFERENT


def compare_documents(left: Side, right: Side) -> tuple[str, tuple[Setting, ...]]:
    """Return the level on which two images are the same, and the settings that differ; no layer is read for it.

    Raises ``CarboyError``.
    """
    one, other = left.read()[1], right.read()[1]
    settings = compare_configs(one.raw, other.raw)
    level = judge(
        same_manifest=left.descriptor.digest == right.descriptor.digest,
        settings=settings,
        same_layers=one.diff_ids == other.diff_ids,
    )
    return level, settings


def compare_images(left: Side, right: Side, around: Surroundings) -> ImageComparison:
    """Return what differs between two images, with reasons; files are read only of layers that differ.

    Raises ``CarboyError``. The caller holds leases.
    """
    level, settings = compare_documents(left, right)
    one, other = left.read(), right.read()
    titles = [line.created_by for line in one[1].history if not line.empty_layer]
    layers = []
    rows = zip_longest(one[1].diff_ids, other[1].diff_ids, one[0].layers, other[0].layers, titles)
    for number, (a, b, blob_a, blob_b, title) in enumerate(rows, 1):
        if a == b:
            continue
        about = LayerDifference(number=number, title=title or "", left=str(a or ""), right=str(b or ""))
        if blob_a is None or blob_b is None:
            note = f"only in the {'rebuild' if blob_a is None else 'image'}"
            layers.append(replace(about, note=note))
            continue
        layers.append(_compare_layer(about, (left.store, blob_a.digest), (right.store, blob_b.digest), around))
    return ImageComparison(
        left=left.descriptor.digest,
        right=right.descriptor.digest,
        level=level,
        layer_count=len(one[1].diff_ids),
        settings=settings,
        layers=tuple(layers),
    )


def _compare_layer(
    about: LayerDifference, left: tuple[Store, Digest], right: tuple[Store, Digest], around: Surroundings
) -> LayerDifference:
    one, other = read_layer(*left), read_layer(*right)
    differences = compare_files(one, other)
    wanted = {difference.path for difference in differences if difference.is_content}
    wanted = set(sorted(wanted)[:MAX_EXPLAINED])
    files = explain_all(differences, read_contents(*left, wanted), read_contents(*right, wanted), around)
    notes = []
    if is_reordered(one, other):
        notes.append("its members are in another order")
    elif not files:
        notes.append("its files are the same: only the archive is written otherwise")
    return replace(about, files=files, note="; ".join(notes))
