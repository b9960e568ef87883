"""What goes into a bundle, fetched into the caches: the sources, and the files that they name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.base.web import read_web_settings
from carboy.bootstrap.fetch import CONNECTIONS, Download, Fetcher
from carboy.bootstrap.progress import DownloadCount
from carboy.build.bundles.archive import PACKAGES
from carboy.build.bundles.manifest import BaseSource, BundledFile, PythonSource, Source, digest_wants, pack_packages
from carboy.environments.addresses import ADDRESS_SCRIPT, add_credentials, parse_addresses, plan_pins
from carboy.environments.install import MAX_LOCK_BYTES
from carboy.environments.trees import read_left
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carboy.base.home import Home
    from carboy.bootstrap.recipe import Recipe
    from carboy.bootstrap.snapshot import Snapshot
    from carboy.build.plan import EnvironmentStep
    from carboy.build.progress import Progress
    from carboy.environments.addresses import SourceFile
    from carboy.environments.install import EnvironmentRequest, PackageAssembler
    from carboy.environments.lock import Package
    from carboy.store.store import Store

_WORK = "/run/carboy/work"
_ASK_SCRIPT = f'set -eu\numask 022\ncd {_WORK}\nexec /usr/bin/python3 -I build_requires_step.py "$1" /run/carboy/uv\n'
# A tool that builds packages comes as a wheel, or is built by one that does.
_MAX_ROUNDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Sources, and the paths of their files by SHA-256."""

    sources: tuple[Source, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: Collected) -> Collected:
        """Return both together."""
        return Collected(sources=self.sources + other.sources, files={**self.files, **other.files})


def describe_base(recipe: Recipe, *, base: str, snapshot: Snapshot, files: Mapping[str, str]) -> Collected:
    """Return a base's source: ``base`` is its name as a plan has it, ``files`` paths by the archive's names for them."""
    with translate_os_errors("read the packages of the base"):
        bundled = {name: bundle_file(path, name=name) for name, path in files.items()}
    source = BaseSource(
        base=base,
        packages=recipe.packages,
        architecture=recipe.architecture,
        texts=dict(snapshot.texts),
        files=tuple(bundled[name] for name in sorted(bundled)),
    )
    return Collected(sources=(source,), files={bundled[name].sha256: path for name, path in files.items()})


def bundle_file(path: str, *, name: str) -> BundledFile:
    """Return a file of the disk as a bundle names it. Raises ``OSError``."""
    with open(path, "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return BundledFile(name=name, sha256=sha256, size=os.fstat(file.fileno()).st_size)


class PythonCollector:
    """Fetches the files of an environment's packages, and of all that those are built with."""

    def __init__(self, assembler: PackageAssembler, request: EnvironmentRequest, *, home: Home, store: Store) -> None:
        self._assembler = assembler
        self._request = request
        self._cache = f"{home.cache}/{PACKAGES}"
        self._store = store

    def collect(self, step: EnvironmentStep, *, progress: Progress) -> Collected:
        """Return the source. Raises ``CarboyError`` for what has no file with its hash, or no network to fetch it by."""
        packages, _ = self._assembler.resolve(self._request, log=progress.log)
        waiting = list(self._ask_addresses(packages, progress))
        found: dict[str, SourceFile] = {}
        for _ in range(_MAX_ROUNDS):
            found |= {file.sha256: file for file in waiting}
            self._fetch(waiting, progress)
            sources = [file for file in waiting if not file.is_wheel]
            needed = self._ask_requirements(sources, progress) if sources else ()
            waiting = [file for file in needed if file.sha256 not in found]
            if not waiting:
                break
        else:
            names = "\n".join(file.name for file in waiting)
            raise CarboyError("what the packages are built with is built itself, again and again", details=names)
        with translate_os_errors("read the packages"):
            files = [bundle_file(f"{self._cache}/{sha256}", name=file.name) for sha256, file in found.items()]
        source = PythonSource(
            wants=digest_wants(step.requirements, step.constraints, step.allowed),
            packages=pack_packages(packages),
            files=tuple(sorted(files, key=lambda file: (file.name, file.sha256))),
        )
        return Collected(sources=(source,), files={sha256: f"{self._cache}/{sha256}" for sha256 in found})

    def _ask_addresses(self, packages: tuple[Package, ...], progress: Progress) -> tuple[SourceFile, ...]:
        """Return where the packages' files are, as the index says now."""
        pins = plan_pins(self._request.requirements, packages)
        with self._assembler.open_step(self._request, ADDRESS_SCRIPT, (), {"pins.txt": pins}, progress.log) as (
            work,
            _,
        ):
            text = read_left(work, "pylock.toml", limit=MAX_LOCK_BYTES)
        return parse_addresses(text, packages=packages, work=_WORK)

    def _ask_requirements(self, sources: Sequence[SourceFile], progress: Progress) -> tuple[SourceFile, ...]:
        """Return the files of all that these source distributions are built with."""
        from carboy.environments.install import read_step

        files = {"build_requires_step.py": read_step("build_requires_step.py")}
        found: list[SourceFile] = []
        with open_links(self._store, [(file.name, f"{self._cache}/{file.sha256}") for file in sources]) as folder:
            indexes = replace(self._request.indexes, folders=(*self._request.indexes.folders, folder))
            request = replace(self._request, indexes=indexes)
            with self._assembler.open_step(request, _ASK_SCRIPT, (folder,), files, progress.log) as (work, _):
                names = [f"pylock.b{number}.toml" for number in range(len(sources))]
                texts = [read_left(work, name, limit=MAX_LOCK_BYTES) for name in names]
        for text in texts:
            found += parse_addresses(text, packages=None, work=_WORK)
        return tuple({file.sha256: file for file in found}.values())

    def _fetch(self, files: Sequence[SourceFile], progress: Progress) -> None:
        """Have the files in the cache."""
        env = dict(self._request.indexes.env)
        web = read_web_settings(env)
        if self._request.indexes.ca_bundle is not None:
            web = replace(web, ca_file=self._request.indexes.ca_bundle)
        count = DownloadCount(progress)
        count.begin(sum(file.size_bytes or 0 for file in files))
        with Fetcher(web, self._cache, on_bytes=count.add) as fetcher:
            for file in files:
                if file.address.startswith("/"):
                    self._take_local(file)
            elsewhere = [
                Download(
                    url=add_credentials(file.address, env, self._request.requirements),
                    size_bytes=file.size_bytes,
                    identity=file.sha256,
                )
                for file in files
                if not file.address.startswith("/")
            ]
            with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="carboy-fetch") as executor:
                try:
                    list(executor.map(fetcher.fetch_file, elsewhere))
                except BaseException:
                    fetcher.cancel()
                    executor.shutdown(wait=False, cancel_futures=True)
                    raise

    def _take_local(self, file: SourceFile) -> None:
        """Copy a file of this host's index into the cache."""
        from shutil import copyfileobj

        from carboy.base.fs import open_durable

        path = f"{self._cache}/{file.sha256}"
        with translate_os_errors(f"read {file.address}"):
            if os.path.exists(path):
                return
            with open(file.address, "rb") as source, open_durable(path) as target:
                copyfileobj(source, target, 2**20)
            if bundle_file(path, name=file.name).sha256 != file.sha256:
                os.unlink(path)
                raise CarboyError(f"{file.address} has not the hash that its index gives", hint="try again")


@contextmanager
def open_links(store: Store, files: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Give a folder that has the files (name, path) under their names, for as long as the block runs. Raises ``CarboyError``."""
    with store.layers.ingest_dir() as place, translate_os_errors("lay the packages out"):
        folder = f"{place}/files"
        os.mkdir(folder, 0o755)
        for name, path in files:
            try:
                os.link(path, f"{folder}/{name}")
                os.chmod(path, 0o644)  # the step's root is not ours; who may come here is decided by the home
            except FileExistsError:
                raise CarboyError(f"two different files are named {name}", hint="name one index only") from None
        yield folder
