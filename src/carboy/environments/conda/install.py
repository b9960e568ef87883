"""conda's packages to layers: chosen, fetched, linked on the host by our own extractor, compiled in a sandbox.

Nothing of a package runs on the host. A sandbox is only needed where the environment has Python, to compile modules with it; it
has no network.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from carboy.base.fs import make_open_dirs, translate_os_errors
from carboy.environments.conda.archive import link_package
from carboy.environments.conda.channels import find_address
from carboy.environments.conda.fetch import ChannelFetcher, explain_missing
from carboy.environments.conda.solve import solve
from carboy.environments.conda.wants import CACHE, PREFIX, CondaPackage, make_record
from carboy.environments.groups import Group, name_layers, plan_groups
from carboy.environments.install import MAX_LAYER_BYTES, PACKAGE_TIME_S, Environment
from carboy.environments.lock import Package
from carboy.environments.trees import list_parts, open_trees
from carboy.errors import CarboyError
from carboy.layers.apply import commit_tree, find_layers, keep_layers
from carboy.layers.batch import LayerResult
from carboy.oci.digest import Digest
from carboy.runtime.native.launch import Stdio
from carboy.runtime.spec import BindMount, SandboxSpec, default_capabilities
from carboy.snapshots.snapshot import open_container

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carboy.base.home import Home
    from carboy.base.web import WebSettings
    from carboy.environments.install import Runtime
    from carboy.linux.identity import Tier
    from carboy.store.store import Store

FORMAT = 1
"""Part of each layer's key: changed whenever the same packages become other bytes."""
OWN_LAYERS = 36
_LAYERS = "/opt/layers"
_WORK = "/run/carboy/work"
_TAIL_LINES = 30
_TAIL_BYTES = 16_384
# As links, so that nothing is copied: Python finds all of the environment where it is to be, and writes into the trees.
_COMPILE = f"""set -eu
umask 022
mkdir -p {PREFIX}
for tree in {_LAYERS}/*; do cp -alf "$tree/." {PREFIX}/; done
exec {PREFIX}/bin/python -I -S {_WORK}/compile_step.py {PREFIX} {_LAYERS} {MAX_LAYER_BYTES}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaRequest:
    """What to install on which base (``base`` layers, lowest first): see ``wants.CondaWants``.

    ``constraints`` are specs that hold for what is chosen. ``key`` stands for all that the choice depends on, ``subdir`` is
    conda's name of the platform, ``glibc`` the base's version of the C library.
    """

    specs: tuple[str, ...]
    channels: tuple[str, ...]
    packages: tuple[CondaPackage, ...]
    constraints: tuple[str, ...]
    base: tuple[Digest, ...]
    key: str
    subdir: str
    glibc: str
    epoch_s: int
    skipped_scripts: tuple[str, ...] = ()


class CondaAssembler:
    """An environment at /opt/conda as one layer for each large package, and a few for the small ones (``groups``)."""

    def __init__(
        self,
        *,
        store: Store,
        home: Home,
        runtime: Runtime,
        tier: Tier,
        web: WebSettings,
        addresses: Mapping[str, str],
        offline: bool = False,
        brought: tuple[CondaPackage, ...] | None = None,
    ) -> None:
        self._store = store
        self._home = home
        self._runtime = runtime
        self._tier = tier
        self._web = web
        self._addresses = addresses
        self._offline = offline
        self._brought = brought

    def resolve(self, request: CondaRequest, *, fresh: bool = False) -> tuple[tuple[CondaPackage, ...], bool]:
        """Return the packages that the request comes to, and whether that was known; ``fresh`` asks the channels anew.

        Raises ``CarboyError`` with what the solver says, or why a channel cannot be read.
        """
        if request.packages or not request.specs:
            return request.packages, True
        if self._brought is not None:
            return self._choose_brought(request, self._brought), True
        known = None if fresh else self._store.cache.get(f"conda:{request.key}")
        if known is not None:
            return tuple(map(_decode, known.value["packages"])), True
        if self._offline:
            raise explain_missing([f"{spec} (no version is chosen yet)" for spec in request.specs])
        lists = self._fetcher(request.channels).fetch_lists(request.channels, (request.subdir, "noarch"))
        packages = _solve(request, lists)
        value = {"packages": [asdict(package) for package in packages]}
        self._store.cache.put(f"conda:{request.key}", "lock", value, [])
        return packages, False

    def _choose_brought(self, request: CondaRequest, brought: tuple[CondaPackage, ...]) -> tuple[CondaPackage, ...]:
        """Return the packages that a bundle brings, which must be what the request comes to with lists of these alone."""
        with self._store.layers.ingest_dir() as place, translate_os_errors("write the lists of conda's packages"):
            lists: list[tuple[str, str, str]] = []
            for channel in request.channels:
                for subdir in (request.subdir, "noarch"):
                    path = f"{place}/{len(lists)}.json"
                    with open(path, "w", encoding="utf-8") as file:
                        json.dump(plan_list(brought, channel=channel, subdir=subdir), file)
                    lists.append((channel, subdir, path))
            found = _solve(request, lists)
        if {package.line for package in found} != {package.line for package in brought}:
            raise CarboyError(
                "the bundle is not what is asked of conda comes to",
                details="\n".join(sorted({p.line for p in found} ^ {p.line for p in brought})[:20]),
                hint="make it again: carboy fetch FOLDER -o bundle.tar",
            )
        return found

    def fetch(self, request: CondaRequest, *, fresh: bool = False) -> tuple[tuple[CondaPackage, ...], dict[str, str]]:
        """Return the packages, those that were chosen with what their lists say, and the paths of their files by SHA-256.

        Raises ``CarboyError``.
        """
        packages, _ = self.resolve(request, fresh=fresh)
        if not request.packages and any(package.record is None for package in packages):
            packages, _ = self.resolve(request, fresh=True)  # chosen when that was not noted
        return packages, self._fetch(packages)

    def assemble(self, request: CondaRequest, *, log: Callable[[str], None]) -> Environment:
        """Return the environment, its layers durable in the store. What is there already is neither fetched nor made.

        Raises ``CarboyError``; nothing half-made is left then.
        """
        packages, known = self.resolve(request)
        packages = self._measure(packages)
        python = next((package for package in packages if package.name == "python"), None)
        interpreter = f"conda {FORMAT} {PREFIX} {python.sha256 if python is not None else ''}"
        by_identity = {package.identity: package for package in packages}
        groups = plan_groups(
            [_as_package(package) for package in packages], interpreter=interpreter, base="", own=OWN_LAYERS
        )
        found = {group.key: find_layers(self._store, f"layer:{group.key}") for group in groups}
        missing = [group for group in groups if not found[group.key]]
        if missing:
            wanted = {group.key: [by_identity[item.requirement] for item in group.packages] for group in missing}
            there = [layer for group in groups for layer in found[group.key]]
            found.update(self._make(request, wanted, there, python.version if python is not None else "", log))
        layers = name_layers(groups, found, made=missing)
        lock = "".join(f"{package.line}\n" for package in packages)
        return Environment(layers=layers, lock=lock, cached=known and not missing)

    def _fetcher(self, channels: Sequence[str]) -> ChannelFetcher:
        asked = () if self._offline else channels
        addresses = {channel: find_address(channel, self._addresses) for channel in asked}
        return ChannelFetcher(addresses, web=self._web, cache_dir=f"{self._home.cache}/{CACHE}", offline=self._offline)

    def _fetch(self, packages: Sequence[CondaPackage]) -> dict[str, str]:
        return self._fetcher([package.channel for package in packages]).fetch_packages(packages)

    def _measure(self, packages: Sequence[CondaPackage]) -> tuple[CondaPackage, ...]:
        """Give packages whose lock does not say how large they are their sizes: which of them share a layer hangs on it."""
        keys = {package.sha256: f"conda-size:{package.sha256}" for package in packages if not package.size_bytes}
        sizes = {sha: entry.value["size_bytes"] for sha, key in keys.items() if (entry := self._store.cache.get(key))}
        unknown = [package for package in packages if package.sha256 in keys and package.sha256 not in sizes]
        for sha, path in (self._fetch(unknown) if unknown else {}).items():
            sizes[sha] = os.stat(path).st_size
            self._store.cache.put(keys[sha], "size", {"size_bytes": sizes[sha]}, [])
        return tuple(replace(package, size_bytes=sizes.get(package.sha256, package.size_bytes)) for package in packages)

    def _make(
        self,
        request: CondaRequest,
        wanted: Mapping[str, Sequence[CondaPackage]],
        there: Sequence[LayerResult],
        python: str,
        log: Callable[[str], None],
    ) -> dict[str, tuple[LayerResult, ...]]:
        """Make the layers of packages, by the keys of their groups; ``there`` are those of the rest of the environment."""
        packages = [package for group in wanted.values() for package in group]
        paths = self._fetch(packages)
        below = [*request.base, *(layer.diff_id for layer in there)]
        container_id = os.urandom(32).hex()
        made = {}
        with (
            translate_os_errors("install conda's packages"),
            open_container(self._home, container_id) as container,
        ):
            container.claim([str(diff_id) for diff_id in below])
            root = container.prepare([self._store.layers.path(diff_id) for diff_id in below], userxattr=True)
            trees = f"{root.upper}{_LAYERS}"
            for number, group in enumerate(wanted.values()):
                make_open_dirs(root.upper, f"{_LAYERS}/{number}")
                self._link(group, paths, f"{trees}/{number}", python=python, skipped=request.skipped_scripts, log=log)
            if python:
                self._compile(container_id, root, f"{container.path}/work", request, log)
            for number, (key, group) in enumerate(wanted.items()):
                with open_trees(root.upper, _LAYERS) as fd:
                    names = list_parts(os.listdir(fd), str(number))
                    made[key] = tuple(self._commit(fd, name) for name in names)
                keep_layers(self._store, f"layer:{key}", made[key])
                size_bytes = sum(part.size_bytes for part in made[key])
                title = Group(packages=tuple(map(_as_package, group)), key=key).title
                log(f"layer with {title}: {size_bytes / 1e6:.1f} MB")
        return made

    def _link(
        self,
        group: Sequence[CondaPackage],
        paths: Mapping[str, str],
        tree: str,
        *,
        python: str,
        skipped: Sequence[str],
        log: Callable[[str], None],
    ) -> None:
        owners: dict[str, str] = {}
        for package in group:
            linked = link_package(
                package,
                paths[package.sha256],
                tree,
                python=python,
                chown=self._tier.kind != "single",
                time_s=PACKAGE_TIME_S,
            )
            if linked.script and package.name not in skipped:
                raise CarboyError(
                    f"{package.name} wants to run a script once it is installed ({linked.script})",
                    hint=f'carboy runs none: carboy.toml with [conda] and skip-scripts = ["{package.name}"] goes without it, '
                    "if what it does is not needed",
                )
            for name in sorted(linked.names & set(owners)):
                log(f"both {owners[name]} and {package.name} have {name}: that of {package.name} counts")
            owners |= dict.fromkeys(linked.names, package.name)

    def _commit(self, trees: int, name: str) -> LayerResult:
        with self._store.layers.ingest_dir() as ingest:
            make_open_dirs(f"{ingest}/tree", os.path.dirname(PREFIX))
            os.rename(name, f"{ingest}/tree{PREFIX}", src_dir_fd=trees)
            return commit_tree(self._store, ingest, mtime_cap=PACKAGE_TIME_S)

    def _compile(
        self, container_id: str, root: object, work: str, request: CondaRequest, log: Callable[[str], None]
    ) -> None:
        """Compile the modules of the new trees with the environment's Python, in a sandbox without a network."""
        make_open_dirs(os.path.dirname(work), os.path.basename(work))
        with (
            open(os.path.join(os.path.dirname(__file__), "compile_step.py"), encoding="utf-8") as source,
            open(f"{work}/compile_step.py", "w", encoding="utf-8") as target,
        ):
            target.write(source.read())
        os.chmod(target.name, 0o644)
        env = {
            "PATH": f"{PREFIX}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp",  # noqa: S108  the sandbox's own
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SOURCE_DATE_EPOCH": str(request.epoch_s),
        }
        spec = SandboxSpec(
            id=container_id,
            root=root,  # type: ignore[arg-type]
            args=("/bin/sh", "-c", _COMPILE),
            tier=self._tier.name,
            id_count=self._tier.id_count,
            env=tuple(f"{name}={value}" for name, value in sorted(env.items())),
            hostname="build",
            network="none",
            mounts=(BindMount(source=work, target=_WORK),),
            capabilities=default_capabilities("build"),
        )
        output = bytearray()

        def take(data: bytes) -> None:
            output.extend(data)
            del output[:-_TAIL_BYTES]

        status = self._runtime.run(spec, Stdio(capture=take))
        if status != 0:
            lines = output.decode("utf-8", "replace").splitlines()
            raise CarboyError(
                "the environment's Python cannot compile its packages",
                details="\n".join(lines[-_TAIL_LINES:]) or f"it ended with status {status}",
                hint="the package of Python may be for another system; see what its channel has",
            )
        log("modules compiled")


def _solve(request: CondaRequest, lists: Sequence[tuple[str, str, str]]) -> tuple[CondaPackage, ...]:
    virtual = (
        ("__unix", "0", "0"),
        ("__linux", "5.10", "0"),  # what Debian's oldest has; the machine's own must not decide
        ("__glibc", request.glibc, "0"),
        ("__archspec", "1", "x86_64" if request.subdir == "linux-64" else request.subdir.partition("-")[2]),
    )
    return solve(request.specs, lists, constraints=request.constraints, virtual=virtual)


def plan_list(packages: Sequence[CondaPackage], *, channel: str, subdir: str) -> dict[str, Any]:
    """Return the list of a channel (``repodata.json``) that has those of ``packages`` which are its own. Pure."""
    kinds: dict[str, dict[str, Any]] = {"packages": {}, "packages.conda": {}}
    for package in packages:
        folder, _, file = package.path.rpartition("/")
        if (package.channel, folder) == (channel, subdir) and package.record is not None:
            kinds["packages.conda" if file.endswith(".conda") else "packages"][file] = {
                **asdict(package.record),
                "name": package.name,
                "version": package.version,
                "build": file.rpartition("-")[2].removesuffix(".conda").removesuffix(".tar.bz2"),
                "subdir": subdir,
                "sha256": package.sha256,
                "size": package.size_bytes,
            }
    return {"info": {"subdir": subdir}, **kinds}


def _decode(item: Mapping[str, Any]) -> CondaPackage:
    record = item.get("record")
    return CondaPackage(**{**item, "record": make_record(record) if record is not None else None})


def _as_package(package: CondaPackage) -> Package:
    return Package(
        name=package.name, version=package.version, requirement=package.identity, size_bytes=package.size_bytes
    )
