"""R packages as layers: the distribution's by **bootstrap**, source by **environments**, put together here."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from carboy.bootstrap.added.archive import open_archive
from carboy.bootstrap.added.installed import parse_status
from carboy.bootstrap.added.layers import find_files, find_plain, install_above, make_files, make_records, read_status
from carboy.bootstrap.deb.index import Package
from carboy.bootstrap.deb.resolve import parse_relations, resolve_above
from carboy.bootstrap.errors import ArchiveUnreachableError, NotFetchedError, ResolveError
from carboy.bootstrap.snapshot import Snapshot, find_snapshot
from carboy.environments.groups import MadeLayer, plan_groups
from carboy.environments.lock import Package as Grouped
from carboy.environments.r.library import Source
from carboy.environments.r.versions import find_upstream
from carboy.environments.r.wants import RPackage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from carboy.bootstrap.added.archive import Archive
    from carboy.bootstrap.layer import BaseLayer, Making
    from carboy.build.plan import RStep
    from carboy.environments.r.repository import SourceRepository

T = TypeVar("T")
CORE = "r-base-core"
# What R's own headers and compilers are in: for packages with code that is compiled.
TOOLS = ("r-base-dev",)
OWN_LAYERS, BINS = 24, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a step comes to: ``packages`` of the distribution in an order to install them in, ``sources`` behind those that they
    require, and ``tools``, with which these are compiled. ``texts`` are the archive's signed state (``bootstrap.snapshot``).
    """

    packages: tuple[Package, ...]
    sources: tuple[Source, ...]
    tools: tuple[Package, ...]
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> tuple[str, ...]:
        """The distribution's packages as lines of a lock."""
        return tuple(sorted(f"{p.name} {p.version} sha256:{p.sha256}" for p in self.packages))

    @property
    def source_lines(self) -> tuple[str, ...]:
        """The sources as lines of a lock."""
        return tuple(sorted(source.line for source in self.sources))

    @property
    def all_lines(self) -> tuple[str, ...]:
        """All of them as lines of a lock."""
        return (*self.lines, *self.source_lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What a bundle brings for R: a state of the archive, and the line of each source, as a lock has it."""

    snapshot: Snapshot
    sources: tuple[str, ...]


class RAssembler:
    """R packages above one base, of the archive in the state that the base was made of, where its texts are kept.

    So base and packages fit, and what an image says of its base's archive holds for its R packages as well. A state whose
    packages the archive has no more is left for today's.

    ``offline``: nobody is asked. With what was ``brought`` the choice is made of that, and is no answer to anybody else.
    """

    def __init__(
        self,
        making: Making,
        base: BaseLayer,
        *,
        environ: Mapping[str, str],
        offline: bool = False,
        brought: Brought | None = None,
    ) -> None:
        self._making = making if brought is None else replace(making, snapshot=brought.snapshot)
        self._base = base
        self._environ = environ
        self._offline = offline
        self._brought = brought

    def make(
        self, step: RStep, *, key: str, fresh: bool, check: Callable[[Resolved], None]
    ) -> tuple[Resolved, list[MadeLayer], bool]:
        """Return what the packages come to, their layers, lowest first, and whether all of it was there.

        ``check`` raises for a result that is to be refused. What an archive has no more is chosen anew. Raises ``CarboyError``.
        """

        def assemble(resolved: Resolved) -> list[MadeLayer]:
            check(resolved)
            return self.assemble(step, resolved)

        resolved, known, layers = self._carry_out(step, assemble, key=key, fresh=fresh)
        return resolved, layers, known and all(item.cached for item in layers)

    def _carry_out(
        self, step: RStep, act: Callable[[Resolved], T], *, key: str, fresh: bool
    ) -> tuple[Resolved, bool, T]:
        """Return what the packages come to, whether that was known, and what ``act`` makes of it.

        Where something of it is not to be had any more, it is chosen of the archive as it is now, and done again.
        """
        resolved, known = self.resolve(step, key=key, fresh=fresh)
        try:
            return resolved, known, act(resolved)
        except (ArchiveUnreachableError, NotFetchedError) as error:
            if self._offline or not _is_gone(error):
                raise
        resolved, known = self.resolve(step, key=key, fresh=True, today=True)
        return resolved, known, act(resolved)

    def resolve(self, step: RStep, *, key: str, fresh: bool = False, today: bool = False) -> tuple[Resolved, bool]:
        """Return what the packages come to, and whether that was known; ``fresh`` chooses anew.

        ``today``: of the archive as it is now, whatever the base is of. Raises ``CarboyError``.
        """
        cache = self._making.store.cache
        known = None if fresh or self._brought is not None else cache.get(f"r:{key}")
        if known is not None:
            return _decode(known.value), True
        if self._brought is not None:
            with open_archive(self._making, offline=self._offline) as archive:
                return self._resolve(step, archive), True
        if self._offline:
            missing = [f"{package} (no version is chosen yet)" for package in step.packages]
            raise NotFetchedError("without a network this cannot be built: R packages are not here", missing)
        resolved = None if today else self._resolve_then(step)
        if resolved is None:
            with open_archive(self._making) as archive:
                resolved = self._resolve(step, archive)
        cache.put(f"r:{key}", "lock", _encode(resolved), [])
        return resolved, False

    def fetch(self, step: RStep, *, key: str, fresh: bool = False) -> tuple[Resolved, dict[str, str]]:
        """Return what the packages come to, and all the files that a build of them needs: their paths by their SHA-256.

        What a state of the archive or a repository has no more is chosen anew. Raises ``CarboyError``.
        """
        resolved, _, paths = self._carry_out(step, lambda found: self._fetch(step, found), key=key, fresh=fresh)
        return resolved, paths

    def _fetch(self, step: RStep, resolved: Resolved) -> dict[str, str]:
        making = replace(self._making, snapshot=Snapshot(texts=resolved.texts))
        with open_archive(making) as archive:
            archive.read_index()
            archive.fetch((*resolved.packages, *resolved.tools))
            names = [*archive.used, *(source.sha256 for source in resolved.sources)]
        self._fetch_sources(step, resolved.sources)
        return {name: f"{making.home.cache}/archives/{name}" for name in names}

    def _fetch_sources(self, step: RStep, sources: Sequence[Source]) -> None:
        """Have the files of sources in the cache. Raises ``NotFetchedError`` for one that is another by now, or gone."""
        with closing(self._open_repository(step)) as repository:
            for source in sources:
                if repository.read_cached(source.sha256) is None:
                    found = repository.fetch(source.name, source.version)
                    if found is None or found.sha256 != source.sha256:
                        raise NotFetchedError("sources of R packages are not to be had any more", [source.line])

    def _resolve_then(self, step: RStep) -> Resolved | None:
        """Return what the packages come to in the state of the archive that the base is of, None where that is not kept."""
        try:
            with open_archive(replace(self._making, snapshot=find_snapshot(self._base.archive))) as archive:
                return self._resolve(step, archive)
        except NotFetchedError:
            return None

    def _resolve(self, step: RStep, archive: Archive) -> Resolved:
        from carboy.bootstrap.added.development import find_runtimes
        from carboy.environments.r.library import resolve_library
        from carboy.environments.r.system import find_development

        index = archive.read_index()
        installed = parse_status(read_status(self._making, [self._base.diff_id]))
        present = {package.name: package.version for package in installed}

        def find_binary(name: str) -> str | None:
            found = index.find(name)
            return present.get(name) or (found.version if found is not None else None)

        with closing(self._open_repository(step)) as repository:
            library = resolve_library(
                step.packages,
                find_binary=find_binary,
                repository=repository,
                r_version=find_upstream(present.get(CORE, "")),
                distribution=step.distribution,
                asked_by=step.reason,
            )
        development = find_development([source.name for source in library.sources])
        needed = (*library.binaries, *find_runtimes(index, development))
        try:
            packages = resolve_above(index, needed, installed=installed)
        except ResolveError as error:
            error.hint = error.hint or "`carboy build --pull` takes the base of the archive's present state, too"
            raise
        compiled = any(source.compiled for source in library.sources)
        above = (*installed, *packages)
        tools = resolve_above(index, (*TOOLS, *development), installed=above) if compiled else ()
        return Resolved(packages=packages, sources=library.sources, tools=tools, texts=archive.snapshot.texts)

    def _open_repository(self, step: RStep) -> SourceRepository:
        from carboy.base.web import read_web_settings
        from carboy.environments.r.repository import SourceRepository
        from carboy.environments.r.settings import read_repositories

        home = self._making.home
        lines = (*(self._brought.sources if self._brought is not None else ()), *step.hashes)
        hashes = {f"{name} {version}": mark.removeprefix("sha256:") for name, version, mark in map(str.split, lines)}
        return SourceRepository(
            () if self._offline else read_repositories(self._environ, home=home.path),
            web=read_web_settings(self._environ),
            cache_dir=f"{home.cache}/archives",
            hashes=hashes,
        )

    def assemble(self, step: RStep, resolved: Resolved) -> list[MadeLayer]:
        """Return the layers, lowest first, durable in the store; what is there already is neither fetched nor made.

        Raises ``CarboyError``.
        """
        making, base, epoch_s = self._making, self._base.diff_id, self._base.epoch_s
        layers: list[MadeLayer] = []
        paragraphs: list[str] = []
        with open_archive(making, offline=self._offline) as archive:
            plain = find_plain(making, archive, resolved.packages, base=base)
            others, own = divide_packages(resolved.packages, plain)
            if others:
                below = install_above(making, archive, others, below=[base], epoch_s=epoch_s)
                layers.append(MadeLayer(layer=below.layer, content=_describe(others), cached=below.cached))
            for group in _group(own):
                found = find_files(making, group)
                layer, texts = found or make_files(making, group, archive.fetch(group))
                paragraphs += texts
                layers.append(MadeLayer(layer=layer, content=_describe(group), cached=found is not None))
                if found is None:
                    making.progress.log(f"layer with {_describe(group)}: {layer.size_bytes / 1e6:.1f} MB")
            if own:
                chain = [base, *(item.layer.diff_id for item in layers)]
                made = make_records(making, paragraphs, below=chain, epoch_s=epoch_s)
                layers.append(MadeLayer(layer=made.layer, content="packages' status", cached=made.cached))
            if resolved.sources:
                layers += self._build(step, resolved, archive, layers)
        return layers

    def _build(self, step: RStep, resolved: Resolved, archive: Archive, layers: Sequence[MadeLayer]) -> list[MadeLayer]:
        from carboy.environments.r.install import SourceInstaller

        making, base = self._making, self._base
        installer = SourceInstaller(
            store=making.store, home=making.home, runtime=making.runtime, tier=making.tier, log=making.progress.log
        )
        stands_on = {
            source.name: (
                str(base.diff_id),
                *find_needed(source, resolved.packages),
                *(t.sha256 for t in resolved.tools),
            )
            for source in resolved.sources
        }
        groups = installer.find(resolved.sources, stands_on=stands_on)
        made = [group for group in groups if group.layer is None]
        missing = {source.name for group in made for source in group.sources}
        if made:
            wanted = [source for source in resolved.sources if source.name in missing]
            self._fetch_sources(step, wanted)
            chain = [base.diff_id, *(item.layer.diff_id for item in layers)]
            if resolved.tools:
                tools = install_above(making, archive, resolved.tools, below=chain, epoch_s=base.epoch_s)
                chain.append(tools.layer.diff_id)
            chain += [group.layer.diff_id for group in groups if group.layer is not None]
            installer.install(wanted, made, below=chain, epoch_s=base.epoch_s)
        return [MadeLayer(layer=g.require_layer(), content=g.title, cached=g not in made) for g in groups]


def _is_gone(error: ArchiveUnreachableError | NotFetchedError) -> bool:
    """Return whether it is that something is not there any more, and not that nobody answers."""
    return isinstance(error, NotFetchedError) or error.status in {404, 410}


def find_needed(source: Source, packages: Sequence[Package]) -> list[str]:
    """Return the hashes of those of the distribution's ``packages`` that a source requires, directly or not, sorted. Pure."""
    by_name = {package.name: package for package in packages}
    waiting = [name for item in source.requires for name in (item.debian, replace(item, bioconductor=True).debian)]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in by_name and name not in found:
            found.add(name)
            groups = parse_relations(by_name[name].depends)
            waiting += [relation.name for group in groups for relation in group]
    return sorted(by_name[name].sha256 for name in found)


def divide_packages(packages: Sequence[Package], plain: Collection[str]) -> tuple[list[Package], list[Package]]:
    """Return the packages that dpkg has to install, with all that these need, and those that are ``plain``, files and no more.

    Both are in the order given. Pure.
    """
    providers: dict[str, list[str]] = {}
    for package in packages:
        for name in (package.name, *(name for name, _ in package.provides)):
            providers.setdefault(name, []).append(package.name)
    by_name = {package.name: package for package in packages}
    waiting = [package.name for package in packages if package.name not in plain]
    below = set(waiting)
    while waiting:
        package = by_name[waiting.pop()]
        for group in parse_relations(f"{package.pre_depends},{package.depends}"):
            needed = {name for relation in group for name in providers.get(relation.name, ())} - below
            below |= needed
            waiting += needed
    return [p for p in packages if p.name in below], [p for p in packages if p.name not in below]


def _describe(packages: Sequence[Package]) -> str:
    names = [f"{package.name} {package.version}" for package in sorted(packages, key=lambda p: p.name)]
    return ", ".join(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])


def _group(packages: Sequence[Package]) -> list[list[Package]]:
    """Return the packages by their layers: the large ones by themselves, the small ones by bins that their names choose."""
    by_name = {package.name: package for package in packages}
    shaped = [
        Grouped(name=p.name, version=p.version, requirement=f"{p.name} {p.sha256}", size_bytes=p.size_bytes)
        for p in packages
    ]
    groups = plan_groups(shaped, interpreter="deb", base="", own=OWN_LAYERS, bins=BINS)
    return [[by_name[member.name] for member in group.packages] for group in groups]


def _encode(resolved: Resolved) -> dict[str, Any]:
    return {**asdict(resolved), "texts": dict(resolved.texts)}


def _decode(value: Mapping[str, Any]) -> Resolved:
    return Resolved(
        packages=tuple(_decode_package(item) for item in value["packages"]),
        sources=tuple(
            Source(**{**item, "requires": tuple(RPackage(**required) for required in item["requires"])})
            for item in value["sources"]
        ),
        tools=tuple(_decode_package(item) for item in value["tools"]),
        texts=value.get("texts", {}),
    )


def _decode_package(item: Mapping[str, Any]) -> Package:
    return Package(**{**item, "provides": tuple((name, version) for name, version in item["provides"])})


def describe_made(layers: Sequence[MadeLayer]) -> str:
    """Return in a few words which layers were made."""
    made = [item for item in layers if not item.cached]
    if not made:
        return "each layer is there"
    named = f": {', '.join(item.content for item in made)}" if len(made) <= 3 else ""
    return f"{len(made)} of {len(layers)} layers{named}" if len(made) < len(layers) else f"{len(layers)} layers"
