"""Images to build on: the local store's, else one that can be made here; and their layers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Protocol

from carboy.build.graph.ops import BaseImage
from carboy.build.solver.foreign import check_runs
from carboy.build.solver.state import Layer, StateResult
from carboy.errors import CarboyError
from carboy.images.platforms import choose_manifest
from carboy.images.times import format_time, parse_time
from carboy.layers.batch import LayerResult
from carboy.oci import mediatypes
from carboy.oci.config import History, ImageConfig, RunConfig, parse_config
from carboy.oci.descriptor import Descriptor
from carboy.oci.index import is_index
from carboy.oci.manifest import Manifest, parse_manifest
from carboy.oci.platform import Platform
from carboy.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carboy.base.home import Home
    from carboy.bootstrap.archive import ArchiveConfig
    from carboy.bootstrap.layer import BaseLayer
    from carboy.bootstrap.recipe import Recipe
    from carboy.bootstrap.snapshot import Snapshot
    from carboy.build.graph.ops import Location
    from carboy.build.solver.recipes import BaseRecipe, Bases
    from carboy.linux.identity import Tier
    from carboy.oci.digest import Digest
    from carboy.remote.repository import Repository
    from carboy.runtime.native.launch import NativeRuntime
    from carboy.store.store import Store


ELSEWHERE = "elsewhere"


class Registries(Protocol):
    """Where images are that are not here: the registries of their names, and the mirrors of those."""

    def is_first(self, reference: Reference) -> bool:
        """Return whether the registry of a name is asked before an image is made here."""
        ...

    def is_old(self, reference: Reference, stored: Descriptor, *, platform: Platform) -> bool:
        """Return whether an image of the store is to be asked for again."""
        ...

    def find(self, reference: Reference, *, platform: Platform) -> BaseImage:
        """Return the image, its documents in the store. Raises ``CarboyError`` where it cannot be had."""
        ...

    def is_pending(self, image: BaseImage) -> bool:
        """Return whether the layers of an image that was found are still to be fetched."""
        ...

    def fetch(self, image: BaseImage, say: Callable[[str], None]) -> bool:
        """Put the layers of an image that was found into the store, and return whether any were missing."""
        ...

    def open_repository(self, reference: Reference, *, insecure: bool) -> Repository:
        """Return the repository of a name, for a build's cache. Raises ``CarboyError``."""
        ...

    def close(self) -> None:
        """End what is open."""
        ...


class NoRegistries:
    """Has nothing: implements :class:`Registries` where nobody is to be asked."""

    def is_first(self, reference: Reference) -> bool:
        """Return False."""
        del reference
        return False

    def is_old(self, reference: Reference, stored: Descriptor, *, platform: Platform) -> bool:
        """Return False."""
        del reference, stored, platform
        return False

    def find(self, reference: Reference, *, platform: Platform) -> BaseImage:
        """Raise ``CarboyError``."""
        del platform
        raise CarboyError(f"no registry is asked for {reference.familiar}", hint="pull it first")

    def is_pending(self, image: BaseImage) -> bool:
        """Return False."""
        del image
        return False

    def fetch(self, image: BaseImage, say: Callable[[str], None]) -> bool:
        """Return False."""
        del image, say
        return False

    def open_repository(self, reference: Reference, *, insecure: bool) -> Repository:
        """Raise ``CarboyError``."""
        del insecure
        raise CarboyError(f"no registry is asked for {reference.familiar}", hint="keep the cache in a folder")

    def close(self) -> None:
        """Do nothing."""


class StoreResolver:
    """Finds images by name: in the local store, else in registries, else among those that can be made here (``recipes``).

    A name that can be made here is asked for in its registry only when config.toml names that registry: so that it is the same
    image on every machine, and nobody's limits count. ``asked`` has the full names that were asked for, with the digest of what
    the store has under each, None for nothing.
    """

    def __init__(
        self, store: Store, bases: Bases, *, platform: Platform | None = None, registries: Registries | None = None
    ) -> None:
        self._store = store
        self._bases = bases
        self._platform = platform or Platform.current()
        self.asked: dict[str, str | None] = {}
        self._elsewhere: dict[str, str] = {}
        self.registries = registries or NoRegistries()

    def resolve(self, name: str, *, platform: Platform | None, location: Location | None = None) -> BaseImage:
        """Return the image that ``name`` means. Raises ``CarboyError`` with where it was asked for, when there is none."""
        wanted = platform or self._platform
        try:
            reference = Reference.parse(name)
        except CarboyError as error:
            error.details = _where(location) or error.details
            raise
        descriptor = self._store.refs.get(str(reference))
        self.asked[str(reference)] = None if descriptor is None else str(descriptor.digest)
        stored = None if descriptor is None else self._find_stored(descriptor, reference, wanted)
        if descriptor is not None and stored is not None:
            fits = platform is None or wanted.fits(stored.platform)
            if fits and not self.registries.is_old(reference, descriptor, platform=wanted):
                return stored
        found = self._find_elsewhere(reference, wanted, location, stored=stored)
        if found.digest is not None and found is not stored:
            self._elsewhere[str(reference)] = str(found.digest)
        return found

    def note_names(self) -> None:
        """Take note of what the store has now under the names that were asked for: what was fetched is there.

        :data:`ELSEWHERE` stands where that is another image than the one that was found in a registry.
        """
        for name in self.asked:
            digest = self._store.refs.find_digest(name)
            self.asked[name] = digest if self._elsewhere.get(name) in {None, digest} else ELSEWHERE

    def _find_elsewhere(
        self, reference: Reference, platform: Platform, location: Location | None, *, stored: BaseImage | None
    ) -> BaseImage:
        """Return the image of a registry, or one that is made here; else the one of the store, for whichever platform.

        That one is taken as it is, as BuildKit does, whose check then says so.
        """
        recipe = self._bases.find(reference)
        reason: CarboyError | None = None
        if recipe is None or self.registries.is_first(reference):
            try:
                return self.registries.find(reference, platform=platform)
            except CarboyError as error:
                reason = error
        if recipe is not None:
            return self._describe_recipe(reference, recipe, platform, why=reason)
        if stored is not None:
            return stored
        assert reason is not None
        names = self._bases.list_names(reference)
        said = "\n".join(text for text in (_where(location), reason.brief, reason.details) if text)
        raise CarboyError(
            f"there is no image {reference.familiar} here, and it cannot be fetched or made",
            details=said,
            hint=f"build or load it first; these can be made here: {', '.join(names)}",
        )

    def _find_stored(self, descriptor: Descriptor, reference: Reference, wanted: Platform) -> BaseImage | None:
        """Return the image of the store; None for an index that has nothing for the platform."""
        try:
            _, config, digest = read_image(self._store, descriptor.digest, wanted)
        except CarboyError:
            if descriptor.media_type not in mediatypes.INDEXES:
                raise
            return None
        return describe_image(reference, config, digest)

    def _describe_recipe(
        self, reference: Reference, recipe: BaseRecipe, platform: Platform, *, why: CarboyError | None
    ) -> BaseImage:
        before = f"{why.brief}; " if why is not None else ""
        title = "" if platform.architecture == self._platform.architecture else f" for {platform}"
        return BaseImage(
            name=reference.familiar,
            config=RunConfig(
                Env=list(recipe.env),
                Cmd=list(recipe.command) or None,
                Entrypoint=list(recipe.entrypoint) or None,
                WorkingDir=recipe.workdir,
                User=recipe.user,
            ),
            platform=platform,
            recipe=recipe.base,
            packages=recipe.packages,
            archive=recipe.archive,
            note=f"{before}{reference.familiar} is not in the store and is made here{title}: {recipe.reason}",
        )


def describe_image(reference: Reference, config: ImageConfig, digest: Digest, *, note: str = "") -> BaseImage:
    """Return what the documents of an image say of it as a base. Pure."""
    return BaseImage(
        name=reference.familiar,
        config=config.config,
        platform=config.platform,
        author=config.author,
        digest=digest,
        note=note,
    )


def read_image(store: Store, digest: Digest, platform: Platform) -> tuple[Manifest, ImageConfig, Digest]:
    """Return manifest, configuration and the manifest's digest; of an index, those for ``platform``. Raises ``CarboyError``."""
    data = store.blobs.read(digest)
    if is_index(data):
        index = Descriptor(media_type=mediatypes.INDEX, digest=digest, size=len(data))
        return read_image(store, choose_manifest(store, index, platform=platform).digest, platform)
    manifest = parse_manifest(data)
    return manifest, parse_config(store.blobs.read(manifest.config.digest)), digest


def open_stored(store: Store, image: BaseImage) -> StateResult:
    """Return the layers of an image of the store. Raises ``CarboyError``."""
    assert image.digest is not None
    manifest, config, _ = read_image(store, image.digest, image.platform)
    layers = tuple(
        Layer(descriptor=descriptor, diff_id=diff_id)
        for descriptor, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    )
    return StateResult(layers=layers, history=config.history, epoch_s=parse_time(config.created))


def make_base(
    image: BaseImage,
    *,
    store: Store,
    home: Home,
    runtime: NativeRuntime,
    tier: Tier,
    environ: Mapping[str, str],
    log: Callable[[str], None],
    refresh: bool = False,
    mirror: str | None = None,
    snapshot: Snapshot | None = None,
) -> tuple[StateResult, bool]:
    """Return the layers of a base that is made from its distribution's archive, and whether they were there.

    ``snapshot``: of the archive as it was then, where that is kept. For the first thread only: the sandbox takes the process's
    signals. Raises what bootstrapping raises.
    """
    from carboy.bootstrap.bootstrap import bootstrap, find_base, find_revisited
    from carboy.bootstrap.layer import Making

    recipe, archive = _read_archive(image, environ, mirror=mirror)
    making = Making(
        recipe=recipe, archive=archive, store=store, home=home, runtime=runtime, tier=tier, progress=_Telling(log)
    )
    if refresh or find_base(recipe, store=store, archive=archive) is None:
        check_runs(image.platform, f"making {image.name}")
    base = bootstrap(
        recipe,
        store=store,
        home=home,
        runtime=runtime,
        tier=tier,
        archive=archive,
        progress=making.progress,
        refresh=refresh,
        snapshot=find_revisited(making, snapshot),
    )
    return _base_state(image, base), base.cached


def find_base_state(
    image: BaseImage, *, store: Store, environ: Mapping[str, str], mirror: str | None = None
) -> StateResult | None:
    """Return the layers of a base that was made here before, None when it would have to be made. Asks nobody."""
    from carboy.bootstrap.bootstrap import find_base

    recipe, archive = _read_archive(image, environ, mirror=mirror)
    base = find_base(recipe, store=store, archive=archive)
    return None if base is None else _base_state(image, base)


def find_base_key(image: BaseImage, *, environ: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return under which key of the store's cache a base is noted that is made here, and the files of keys that it needs."""
    from carboy.bootstrap.layer import make_key

    recipe, archive = _read_archive(image, environ, mirror=None)
    return make_key(recipe, archive), archive.keyrings


def _read_archive(image: BaseImage, environ: Mapping[str, str], *, mirror: str | None) -> tuple[Recipe, ArchiveConfig]:
    from carboy.bootstrap.archive import NO_SETTINGS, read_archive_config
    from carboy.bootstrap.recipe import parse_recipe

    recipe = parse_recipe(
        image.recipe, packages=image.packages, architecture=image.platform.architecture, any_suite=True
    )
    return recipe, read_archive_config(environ, recipe=recipe, mirror=mirror, settings=image.archive or NO_SETTINGS)


def _base_state(image: BaseImage, base: BaseLayer) -> StateResult:
    result = LayerResult(diff_id=base.diff_id, size_bytes=base.size_bytes)
    created = format_time(base.epoch_s)
    extra = f" with {', '.join(image.packages)}" if image.packages else ""
    line = History(created=created, created_by=f"carboy: base {image.recipe}{extra}, {len(base.packages)} packages")
    return StateResult(
        layers=(Layer.made(result),),
        history=(line,),
        epoch_s=base.epoch_s,
        packages=len(base.packages),
        archive=json.dumps(dict(base.archive), sort_keys=True, separators=(",", ":")),
    )


class _Telling:
    """Passes a bootstrap's news on as lines."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log

    def step_progress(self, done_bytes: int, total_bytes: int | None) -> None:
        pass

    def log(self, line: str) -> None:
        self._log(line)


def _where(location: Location | None) -> str:
    if location is None:
        return ""
    return f"{location}\n{location.text}" if location.text else str(location)
