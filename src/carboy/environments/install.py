"""Requirements to layers, by uv inside a sandbox on the image's base.

uv runs with the image's own Python and nothing of the host but its caches, certificates and local indexes: a package that must be
built from source runs its code in there, not on the host.
"""

from __future__ import annotations

import json
import os
import platform
import re
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from carboy.base.credentials import redact
from carboy.base.fs import make_open_dirs, translate_os_errors
from carboy.base.lines import Lines
from carboy.environments.addresses import NO_STAND_INS, STAND_INS, StandIns
from carboy.environments.connection import Connection, read_step_files
from carboy.environments.detect.sources import PLACE
from carboy.environments.failures import explain_build, explain_failure
from carboy.environments.groups import MAX_OWN, Group, MadeLayer, name_layers, plan_groups
from carboy.environments.indexes import check_variables, find_local_path
from carboy.environments.lock import Package, normalise, parse_pylock, render_lock, settle_chosen
from carboy.environments.reach import CLOSED, find_network
from carboy.environments.trees import list_parts, open_trees, read_left
from carboy.layers.apply import find_layers, keep_layers
from carboy.layers.batch import LayerBatch, LayerResult
from carboy.oci.digest import Digest
from carboy.runtime.native.launch import Stdio
from carboy.runtime.spec import BindMount, FileMount, SandboxSpec, TmpfsMount, default_capabilities
from carboy.snapshots.snapshot import open_container

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from carboy.base.home import Home
    from carboy.environments.indexes import IndexConfig
    from carboy.linux.identity import Tier
    from carboy.runtime.attend import Watcher
    from carboy.store.store import Store

ENVIRONMENT = "/opt/env"
TOOLS = "/opt/tools"
PYTHON = "/usr/bin/python3"
"""The base's own."""
PACKAGE_TIME_S = 315_532_800
"""All files of packages are of 1980-01-01, the first day that a zip file knows: their layers depend on no base."""
_WORK = "/run/carboy/work"
_LAYERS = f"{_WORK}/layers"
_SOURCES = "sources"
_MAX_LINKS_BYTES = 2**32
MAX_LAYER_BYTES = 900_000_000
"""What is larger (torch, with CUDA's libraries) becomes several layers: registries and people have less trouble with those."""
MAX_LOCK_BYTES = 16 * 2**20

# Run by the image's shell: small on purpose, each line one thing that uv or Python does.
_PRELUDE = f"""set -eu
umask 022
uv=/run/carboy/uv
cd {_WORK}
"""
_LOCK = f"""{_PRELUDE}
[ -z "$2" ] || "$1" -I list_step.py >installed.txt
also() {{ [ ! -s "$2" ] || echo "$1 $2"; }}  # uv warns of files that have nothing
$uv pip compile requirements.txt $(also --constraints constraints.txt) --generate-hashes --format pylock.toml \\
    $(also --constraints installed.txt) $(also --overrides overrides.txt) --no-header --no-annotate --python "$1" \\
    ${{4:+--python-platform $4}} --output-file pylock.toml >/dev/null
"""
_INSTALL = f"""{_PRELUDE}
$uv venv "$3" --python "$1" --no-project --quiet $2
sed -i '/^uv = /d' "$3/pyvenv.cfg"
rm -f "$3/.lock" "$3/.gitignore" "$3/CACHEDIR.TAG"
exec "$1" -I divide_step.py "$3" {_LAYERS} $uv {MAX_LAYER_BYTES} "$5" "$4"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceArchive:
    """A package that lies in the folder: the host's ``file``, its hash, and its ``place`` below ``detect.sources.PLACE``."""

    place: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a wheel that was built here is from: its ``address`` in the sandbox, the ``line`` of a lock that stands for it, the
    ``note`` (direct_url.json, PEP 610; ``null`` for none) that is installed with it, and the lines of what it was built with,
    by the names of packages: see ``lockfile.LockFile.tools``.
    """

    address: str
    line: str
    note: str
    tools: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRequest:
    """What to install on which base (``base`` layers, lowest first): see ``detect.wants.Wants``.

    ``key`` stands for all that a lock depends on, ``interpreter`` for
    the Python that the base has, as its packages' versions. ``epoch_s`` is the newest time of the base. ``chosen`` are the
    versions that a bundle brings: they must be what uv chooses of its files, and are not kept as an answer to anybody else.
    ``root`` is where the environment lies. ``python`` runs all of it; where it ``has_packages`` of its own, those stay as they
    are and are not installed again. ``sources`` are what requirements
    name of the folder itself. ``own`` is how many packages at
    most have layers of their own. ``platform`` is uv's name of another platform than the base's, which packages are for: wheels
    alone. ``stand_ins`` are files in place of what packages' addresses lead to;
    ``origins`` tell of those ``sources`` that were built of something else. ``tools`` are, by package, lines of a lock: what
    is built with what. ``builds`` are the packages that are being built, where this is what the last of them is built with.
    """

    requirements: str
    constraints: str
    allowed: str
    base: tuple[Digest, ...]
    key: str
    interpreter: str
    epoch_s: int
    indexes: IndexConfig
    chosen: tuple[Package, ...] | None = None
    root: str = ENVIRONMENT
    python: str = PYTHON
    has_packages: bool = False
    sources: tuple[SourceArchive, ...] = ()
    own: int = MAX_OWN
    stand_ins: StandIns = NO_STAND_INS
    origins: tuple[Origin, ...] = ()
    platform: str = ""
    tools: tuple[tuple[str, tuple[str, ...]], ...] = ()
    builds: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, str, str, str]:
        """What scripts are told: the interpreter, uv's option for one that has packages (else ""), the root, the platform."""
        return self.python, "--system-site-packages" if self.has_packages else "", self.root, self.platform


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Layers, lowest first, and the packages in them with their hashes, in pip's form; ``fetched`` were not in uv's cache.

    ``tools`` are, by package, the lines of what was built with what.
    """

    layers: tuple[MadeLayer, ...]
    lock: str
    cached: bool
    fetched: int = 0
    tools: tuple[tuple[str, tuple[str, ...]], ...] = ()


class SourceBuilder(Protocol):
    """What makes wheels of the sources that were chosen."""

    def build(
        self, assembler: PackageAssembler, request: EnvironmentRequest, packages: tuple[Package, ...]
    ) -> tuple[EnvironmentRequest, tuple[Package, ...]]:
        """Return the packages with wheels in the place of source distributions, and the request with these and their origins.

        What is there already is neither fetched nor built. Raises ``CarboyError``.
        """
        ...


class Runtime(Protocol):
    """What runs the step."""

    def run(self, spec: SandboxSpec, stdio: Stdio, *, watcher: Watcher | None = None) -> int:
        """Run a sandbox to its end and return its exit status; ``watcher`` sees its events."""
        ...


class PackageAssembler:
    """An environment, at /opt/env as a rule, as one layer for each large package, and a few for the small ones (``groups``)."""

    def __init__(
        self,
        *,
        store: Store,
        home: Home,
        runtime: Runtime,
        tier: Tier,
        sources: Callable[[], SourceBuilder] | None = None,
    ) -> None:
        self._sources = sources
        self._store = store
        self._home = home
        self._runtime = runtime
        self._tier = tier

    def assemble(self, request: EnvironmentRequest, *, log: Callable[[str], None]) -> Environment:
        """Return the environment, its layers durable in the store. What is there already is neither fetched nor made.

        Raises ``CarboyError`` with what uv says.
        """
        chosen, known = self.resolve(request, log=log)
        request, packages = self.build_sources(request, chosen)
        groups, found = self._find(request, packages)
        missing = [group for group in groups if not found[group.key]]
        fetched = _Fetched(log)
        if missing:
            found.update(self._install(request, missing, fetched.take))
        layers = name_layers(groups, found, made=missing, untitled=f"environment in {request.root}")
        cached = known and not missing
        return Environment(
            layers=layers,
            lock=render_lock(packages),
            cached=cached,
            fetched=fetched.count,
            tools=list_tools(request.origins),
        )

    def build_sources(
        self, request: EnvironmentRequest, packages: tuple[Package, ...]
    ) -> tuple[EnvironmentRequest, tuple[Package, ...]]:
        """Return packages that were chosen with wheels in the place of sources: see :class:`SourceBuilder`."""
        if self._sources is None or not any(package.is_source for package in packages):
            return request, packages
        return self._sources().build(self, request, packages)

    def _find(
        self, request: EnvironmentRequest, packages: tuple[Package, ...]
    ) -> tuple[tuple[Group, ...], dict[str, tuple[LayerResult, ...]]]:
        """Return the groups of an environment, and the layers of each by its key, () for one that is not there."""
        base = ",".join(map(str, request.base))
        interpreter = f"{request.interpreter} {installer_version()}"
        if request.root != ENVIRONMENT:  # scripts begin with the path of their Python
            interpreter += f" {request.root}"
        if request.platform:
            interpreter += f" for {request.platform}"
        venv = Group(packages=(), key=f"venv:{interpreter}:{request.epoch_s}")
        groups = (venv, *plan_groups(packages, interpreter=interpreter, base=base, own=request.own))
        return groups, {group.key: find_layers(self._store, f"layer:{group.key}") for group in groups}

    def list_missing(self, request: EnvironmentRequest) -> list[str]:
        """Return what has no layer yet, for people: packages, or the requirements where no versions are chosen yet."""
        known = self._store.cache.get(f"lock:{request.key}")
        if known is None:
            lines = (line.strip() for line in request.requirements.splitlines())
            return [f"{line.split(' --hash')[0]} (no version is chosen yet)" for line in lines if line[:1].isalnum()]
        groups, found = self._find(request, _read_known(known.value))
        missing = [package for group in groups if not found[group.key] for package in group.packages]
        return [f"{package.name} {package.version}" for package in missing]

    def resolve(
        self, request: EnvironmentRequest, *, log: Callable[[str], None], fresh: bool = False
    ) -> tuple[tuple[Package, ...], bool]:
        """Return the packages that the requirements come to, and whether that was known; ``fresh`` asks the index anew.

        Raises ``CarboyError`` with what uv says.
        """
        if request.chosen is not None:
            return settle_chosen(request.chosen, self._resolve(request, log), allowed=request.allowed), True
        known = None if fresh else self._store.cache.get(f"lock:{request.key}")
        if known is not None:
            return _read_known(known.value), True
        packages = self._resolve(request, log)
        value = {"packages": [asdict(package) for package in packages]}
        self._store.cache.put(f"lock:{request.key}", "lock", value, [])
        return packages, False

    def _resolve(self, request: EnvironmentRequest, log: Callable[[str], None]) -> tuple[Package, ...]:
        """Return the packages that the requirements come to, for the base's Python."""
        files = {
            "requirements.txt": request.requirements,
            "constraints.txt": request.constraints,
            "installed.txt": "",
            "overrides.txt": request.stand_ins.overrides,
            "list_step.py": read_step("list_step.py"),
        }
        with self.open_step(request, _LOCK, request.arguments, files, log) as (work, _):
            text, own = (read_left(work, name, limit=MAX_LOCK_BYTES) for name in ("pylock.toml", "installed.txt"))
        provided = {normalise(line.partition("==")[0]) for line in own.splitlines()}
        packages = parse_pylock(text, allowed=request.allowed, measure=_measure, provided=provided)
        return _name_origins(packages, request.origins)

    def _install(
        self, request: EnvironmentRequest, groups: Sequence[Group], log: Callable[[str], None]
    ) -> dict[str, tuple[LayerResult, ...]]:
        """Install the packages of these groups and make layers of them; returns those by the groups' keys."""
        wanted = [group for group in groups if group.packages]
        stand_ins = request.stand_ins
        lines = [[stand_ins.replace(package.requirement) for package in group.packages] for group in wanted]
        chosen = [package for group in wanted for package in group.packages]
        # Indexes and the like that the requirements name; where the packages are from is in no layer.
        options = [line for line in request.requirements.splitlines() if re.match(r"-(?!-no-binary\b)", line)]
        # What was to be built is a wheel by now, but for sources at an address. Where a lock allows several
        # files of a package, uv takes the one that fits best.
        if not any(package.built or package.requirement.count("--hash=") > 1 for package in chosen):
            options.append("--only-binary :all:")
        files = {
            "missing.txt": "".join(f"{line}\n" for line in (*options, *(line for group in lines for line in group))),
            "groups.json": json.dumps(lines),
            "addresses.json": json.dumps(
                {place: address for address, place in stand_ins.places}
                | {origin.address: json.loads(origin.note) for origin in request.origins}
            ),
            "divide_step.py": read_step("divide_step.py"),
        }
        # Of wheels alone: what another source is built with is asked of the index, each time.
        first = "--offline" if not any(package.built for package in chosen) else ""
        with (
            self.open_step(request, _INSTALL, (*request.arguments, first), files, log) as (work, _),
            open_trees(work, "layers") as trees,
        ):
            names = os.listdir(trees)
            rows = [
                (group, list_parts(names, str(wanted.index(group)) if group.packages else "venv")) for group in groups
            ]
            return self._commit_all(request, trees, rows, log)

    def _commit_all(
        self,
        request: EnvironmentRequest,
        trees: int,
        rows: Sequence[tuple[Group, Sequence[str]]],
        log: Callable[[str], None],
    ) -> dict[str, tuple[LayerResult, ...]]:
        """Make layers of groups' trees, by their names in the folder ``trees``, the largest first.

        As many are made at once as there are processors: most of it is to read, to hash, to write and to wait for the disk.
        """
        from concurrent.futures import ThreadPoolExecutor

        rows = sorted(rows, key=lambda row: -sum(package.size_bytes for package in row[0].packages))
        jobs = [
            (name, request.root, PACKAGE_TIME_S if group.packages else request.epoch_s)
            for group, names in rows
            for name in names
        ]
        made = {}
        with LayerBatch(self._store) as batch:
            with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
                layers = iter(list(pool.map(lambda job: _write_layer(batch, trees, *job), jobs)))
            batch.publish()
        for group, names in rows:
            parts = tuple(islice(layers, len(names)))
            made[group.key] = parts
            keep_layers(self._store, f"layer:{group.key}", parts)
            if group.packages:
                log(f"layer with {group.title}: {sum(part.size_bytes for part in parts) / 1e6:.1f} MB")
        return made

    @contextmanager
    def open_step(
        self,
        request: EnvironmentRequest,
        script: str,
        arguments: Sequence[str],
        files: Mapping[str, str],
        log: Callable[[str], None],
        *,
        closed: bool = False,
    ) -> Iterator[tuple[str, str]]:
        """Run a script on the base in a sandbox of its own; yields its working folder, and what it wrote into its root.

        ``closed``: without a network, without uv and its cache, and without anything else of the host.
        """
        container_id = os.urandom(32).hex()
        with (
            translate_os_errors("install the requirements"),
            open_container(self._home, container_id) as container,
        ):
            container.claim([str(diff_id) for diff_id in request.base])
            trees = [self._store.layers.path(diff_id) for diff_id in request.base]
            root = container.prepare(trees, userxattr=True)
            work = f"{container.path}/work"
            _write_files(work, {**files, **({} if request.indexes.has_index else {"uv.toml": "no-index = true\n"})})
            _copy_sources(work, request.sources)
            if not closed:
                check_variables(request.indexes, request.requirements)
            reach = CLOSED if closed else find_network(self._tier.name, dict(request.indexes.env), request.requirements)
            mounts = [BindMount(source=work, target=_WORK, read_only=False)]
            if reach.network == "host":
                log(f"on the host's network: {reach.reason}")
            spec = self._plan(
                container_id,
                args=("/bin/sh", "-c", script, "sh", *arguments),
                mounts=(
                    *read_step_files(network=reach.network, hostname="build"),
                    *(mounts if closed else self._mounts(work, request)),
                ),
                request=request,
                root=root,
                network=reach.network,
            )
            output = Lines(log, show=redact)
            connection = Connection(container_id, tier=self._tier.name) if reach.network == "private" else None
            status = self._runtime.run(spec, Stdio(capture=output.take), watcher=connection)
            output.finish()
            if status != 0:
                raise explain_build(output.last, status) if closed else explain_failure(output.last, status)
            yield work, root.upper

    def _mounts(self, work: str, request: EnvironmentRequest) -> list[BindMount | TmpfsMount]:
        import uv

        cache = f"{self._home.cache}/uv-{self._tier.kind}"
        os.makedirs(cache, mode=0o700, exist_ok=True)
        os.utime(cache)  # for clean-up, which begins with what was not used for long
        mounts: list[BindMount | TmpfsMount] = [
            # What is in there is links, and what uv writes itself: thousands of files that are gone in a moment.
            TmpfsMount(target=request.root, mode=0o755, size_bytes=_MAX_LINKS_BYTES),
            BindMount(source=uv.find_uv_bin(), target="/run/carboy/uv"),
            BindMount(source=cache, target="/run/carboy/cache", read_only=False),
            BindMount(source=work, target=_WORK, read_only=False),
        ]
        if request.indexes.ca_bundle is not None:
            bundle = os.path.realpath(request.indexes.ca_bundle)
            mounts.append(BindMount(source=bundle, target="/run/carboy/ca.pem"))
        if request.stand_ins.folder:
            mounts.append(BindMount(source=request.stand_ins.folder, target=STAND_INS))
        return mounts + [BindMount(source=folder, target=folder) for folder in request.indexes.folders]

    def _plan(
        self,
        container_id: str,
        *,
        args: tuple[str, ...],
        mounts: tuple[BindMount | FileMount | TmpfsMount, ...],
        request: EnvironmentRequest,
        root: object,
        network: str,
    ) -> SandboxSpec:
        env = dict(request.indexes.env)
        env |= {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/tmp",  # noqa: S108  the sandbox's own
            "LANG": "C.UTF-8",
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SOURCE_DATE_EPOCH": str(request.epoch_s),
            "UV_CACHE_DIR": "/run/carboy/cache",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "UV_NO_CONFIG": "1",
        }
        if not request.indexes.has_index:  # no variable says so; a file that is named is read all the same
            env["UV_CONFIG_FILE"] = f"{_WORK}/uv.toml"
        if request.indexes.ca_bundle is not None:
            env |= {"SSL_CERT_FILE": "/run/carboy/ca.pem", "REQUESTS_CA_BUNDLE": "/run/carboy/ca.pem"}
        return SandboxSpec(
            id=container_id,
            root=root,  # type: ignore[arg-type]
            args=args,
            tier=self._tier.name,
            id_count=self._tier.id_count,
            env=tuple(f"{name}={value}" for name, value in sorted(env.items())),
            hostname="build",
            network="host" if network == "host" else "none",
            announce_network=network == "private",
            mounts=mounts,
            capabilities=default_capabilities("build"),
        )


def list_tools(origins: tuple[Origin, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return, by package, the lines of what it was built with, sorted."""
    return tuple(sorted({name: lines for origin in origins for name, lines in origin.tools}.items()))


def _name_origins(packages: tuple[Package, ...], origins: tuple[Origin, ...]) -> tuple[Package, ...]:
    """Return the packages, each with the line of where it is from."""
    lines = {origin.address: origin.line for origin in origins}
    places = (package.requirement.partition(" @ ")[2].partition(" ")[0] for package in packages)
    return tuple(replace(package, origin=lines.get(place, "")) for package, place in zip(packages, places, strict=True))


class _Fetched:
    """Passes lines on, and counts the packages that uv says it had to fetch, or to build; what its cache has is none of them."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self.count = 0

    def take(self, line: str) -> None:
        words = line.split()  # "Prepared 3 packages in 1.20s"
        self.count += int(words[1]) if words[:1] == ["Prepared"] and words[1:2] and words[1].isdecimal() else 0
        self._log(line)


def _write_layer(batch: LayerBatch, trees: int, name: str, root: str, mtime_cap_s: int) -> LayerResult:
    ingest = batch.ingest_dir()
    make_open_dirs(f"{ingest}/tree", os.path.dirname(root))
    os.rename(name, f"{ingest}/tree{root}", src_dir_fd=trees)
    return batch.write(ingest, mtime_cap=mtime_cap_s)


def read_step(name: str) -> str:
    """Return the text of a program of this room that runs inside the sandbox."""
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as file:
        return file.read()


def _read_known(value: Mapping[str, Any]) -> tuple[Package, ...]:
    """Return the packages of a note in the cache. Older ones have the place of what lies in the folder as a path."""
    found = tuple(Package(**item) for item in value["packages"])
    return tuple(replace(p, requirement=p.requirement.replace(f" @ {PLACE}/", f" @ file://{PLACE}/")) for p in found)


def _measure(address: str) -> int:
    """Return the size in bytes of a file of this host (a folder of packages), 0 for what is elsewhere."""
    path = find_local_path(address)
    try:
        return os.stat(path).st_size if path is not None else 0
    except (OSError, ValueError):
        return 0


def _write_files(work: str, files: Mapping[str, str]) -> None:
    os.mkdir(work, 0o755)
    for name, text in files.items():
        with open(f"{work}/{name}", "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(f"{work}/{name}", 0o644)


def _copy_sources(work: str, sources: Sequence[SourceArchive]) -> None:
    from shutil import copyfile

    for source in sources:
        path = f"{work}/{_SOURCES}/{source.place}"
        make_open_dirs(work, f"{_SOURCES}/{os.path.dirname(source.place)}")
        copyfile(source.file, path)
        os.chmod(path, 0o644)


def installer_version() -> str:
    """Return which uv installs, and for which processor: part of what an environment depends on."""
    return f"uv {_read_uv_version()} {platform.machine()}"


def _read_uv_version() -> str:
    """Return the version of uv, which the name of its notes tells; ``importlib.metadata`` takes 15 ms to be imported."""
    import uv

    for name in os.listdir(os.path.dirname(os.path.dirname(uv.__file__))):
        if name.startswith("uv-") and name.endswith(".dist-info"):
            return name.removeprefix("uv-").removesuffix(".dist-info")
    from importlib.metadata import version

    return version("uv")
