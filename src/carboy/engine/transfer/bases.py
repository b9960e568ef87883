"""Images of registries to build on: their documents when a build is planned, their layers when it comes to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.build.solver.bases import describe_image, read_image
from carboy.remote.settings import read_registries

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.build.graph.ops import BaseImage
    from carboy.engine.context import Engine
    from carboy.images.transport.pull import PulledDocuments
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.digest import Digest
    from carboy.oci.platform import Platform
    from carboy.oci.reference import Reference
    from carboy.remote.repository import Registries, Repository


class RegistryBases:
    """Finds base images in registries. Implements ``Registries`` of ``build.solver.bases``; close it after the build.

    ``refresh``: what was fetched before is asked for again, as ``--pull`` wants it.
    """

    def __init__(self, engine: Engine, *, refresh: bool) -> None:
        self._engine = engine
        self._refresh = refresh
        self._registries: Registries | None = None  # a build whose bases are here needs nothing of it
        self._found: dict[tuple[str, str], BaseImage] = {}
        self._pending: dict[Digest, tuple[Reference, Repository, PulledDocuments, Platform]] = {}

    def close(self) -> None:
        """End the connections."""
        if self._registries is not None:
            self._registries.close()

    def is_first(self, reference: Reference) -> bool:
        """Return whether the registry of a name goes before what could be made here: config.toml names it."""
        return reference.registry in read_registries(self._engine.home.path)

    def is_old(self, reference: Reference, stored: Descriptor, *, platform: Platform) -> bool:
        """Return whether what the store has was fetched, and is to be asked for again."""
        if not self._refresh:
            return False
        from carboy.engine.transfer.fetched import find_fetched

        fetched = find_fetched(self._engine.store, reference, platform=platform)
        return fetched is not None and fetched.digest == stored.digest

    def find(self, reference: Reference, *, platform: Platform) -> BaseImage:
        """Return the image; its layers are fetched by :meth:`fetch`. Raises ``RegistryError``, ``CarboyError``.

        Asked again, it answers as before: each fetched manifest counts where a registry has limits.
        """
        key = str(reference), str(platform)
        if key not in self._found:
            self._found[key] = self._find(reference, platform)
        return self._found[key]

    def _find(self, reference: Reference, platform: Platform) -> BaseImage:
        from carboy.engine.transfer.fetched import find_fetched
        from carboy.images.transport.pull import pull_documents

        store = self._engine.store
        known = None if self._refresh else find_fetched(store, reference, platform=platform)
        if known is not None:
            _, config, digest = read_image(store, known.digest, platform)
            return describe_image(reference, config, digest)
        repository = self.open_repository(reference)
        documents = pull_documents(repository, store, reference, platform=platform)
        digest = documents.descriptor.digest
        self._pending[digest] = reference, repository, documents, platform
        note = f"{reference.familiar} is fetched from {reference.registry}"
        return describe_image(reference, documents.config, digest, note=note)

    def is_pending(self, image: BaseImage) -> bool:
        """Return whether the layers of an image are still to be fetched."""
        return image.digest in self._pending

    def fetch(self, image: BaseImage, say: Callable[[str], None]) -> bool:
        """Put the layers of an image into the store, unpacked, and return whether any had to come. Raises ``CarboyError``."""
        if image.digest is None or image.digest not in self._pending:
            return False
        from carboy.engine.transfer.fetched import keep_fetched, name_fetched, note_location
        from carboy.images.transport.progress import SilentTransfer
        from carboy.images.transport.pull import pull_layers

        reference, repository, documents, platform = self._pending[image.digest]
        say(image.note)
        tier_chown = self._engine.tier.name != "single"
        came = pull_layers(repository, self._engine.store, documents, tier_chown=tier_chown, progress=SilentTransfer())
        name_fetched(self._engine.store, reference, documents, platform=platform)
        keep_fetched(self._engine.store, reference, documents, platform=platform)
        note_location(self._engine.store, repository, documents.descriptor)
        del self._pending[image.digest]
        return came

    def open_repository(self, reference: Reference, *, insecure: bool = False) -> Repository:
        """Return the repository of a name."""
        from carboy.remote.repository import Registries

        if self._registries is None:
            self._registries = Registries(self._engine.home.path, self._engine.environ)
        return self._registries.open(reference, insecure=insecure)
