"""Source packages to layers, by R inside a sandbox on the image's own layers.

A package's own code runs when it is installed: in there, not on the host, and without a network. The tools that compile it are a
layer of the sandbox, and of no image.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from carboy.base.fs import make_open_dirs, translate_os_errors
from carboy.base.lines import Lines
from carboy.environments.groups import plan_groups
from carboy.environments.lock import Package
from carboy.environments.r.system import find_missing
from carboy.errors import FREE_SPACE, CarboyError
from carboy.layers.apply import commit_tree, find_layer, keep_layer
from carboy.layers.batch import LayerResult
from carboy.layers.inside import open_directory
from carboy.runtime.native.launch import Stdio
from carboy.runtime.spec import BindMount, SandboxSpec, default_capabilities
from carboy.snapshots.snapshot import open_container

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carboy.base.home import Home
    from carboy.environments.r.library import Source
    from carboy.linux.identity import Tier
    from carboy.oci.digest import Digest
    from carboy.store.store import Store

LIBRARY = "/usr/local/lib/R/site-library"
"""Where R looks first, before what the distribution installs (Debian's Renviron)."""
FORMAT = 1
OWN_LAYERS, BINS = 8, 4
_TAIL_LINES = 30
_PLACE = "/run/carboy/sources"
_WORK = "/tmp/carboy"  # noqa: S108  the sandbox's own


class Runtime(Protocol):
    """What runs the step."""

    def run(self, spec: SandboxSpec, stdio: Stdio) -> int:
        """Run a sandbox to its end and return its exit status."""
        ...


@dataclass(slots=True, kw_only=True)
class SourceGroup:
    """Sources that share a layer, which is None until it is made."""

    sources: tuple[Source, ...]
    key: str
    layer: LayerResult | None = None

    @property
    def title(self) -> str:
        """The group for people."""
        return ", ".join(f"{source.name} {source.version} from source" for source in self.sources)

    def require_layer(self) -> LayerResult:
        """Return the layer, which was made."""
        assert self.layer is not None, "it was installed"
        return self.layer


class SourceInstaller:
    """Installs sources, those of a group into one layer."""

    def __init__(self, *, store: Store, home: Home, runtime: Runtime, tier: Tier, log: Callable[[str], None]) -> None:
        self._store = store
        self._home = home
        self._runtime = runtime
        self._tier = tier
        self._log = log

    def find(self, sources: Sequence[Source], *, stands_on: Mapping[str, Sequence[str]]) -> list[SourceGroup]:
        """Return the sources by their layers, with those that are there.

        A layer depends on its sources, on those that they require, and on what each of these ``stands_on`` (by name, texts that
        identify it): code is compiled against it.
        """
        shaped = [Package(name=s.name, version=s.version, requirement=s.line, built=True) for s in sources]
        planned = plan_groups(shaped, interpreter=f"R {FORMAT}", base="", own=OWN_LAYERS, bins=BINS)
        by_name = {source.name: source for source in sources}
        groups = []
        for plan in planned:
            members = tuple(by_name[package.name] for package in plan.packages)
            required = _with_required(members, by_name)
            value = [FORMAT, [[s.name for s in members], [[s.line, *stands_on[s.name]] for s in required]]]
            key = f"layer:r:{hashlib.sha256(json.dumps(value).encode()).hexdigest()}"
            groups.append(SourceGroup(sources=members, key=key, layer=find_layer(self._store, key)))
        return groups

    def install(
        self, sources: Sequence[Source], groups: Sequence[SourceGroup], *, below: Sequence[Digest], epoch_s: int
    ) -> None:
        """Install ``sources`` in their order, and make the layers that ``groups`` have not got.

        Raises ``CarboyError`` with the package that failed, its last lines, and what it misses of the system.
        """
        with (
            translate_os_errors("install R packages"),
            open_container(self._home, os.urandom(32).hex()) as container,
        ):
            container.claim([str(diff_id) for diff_id in below])
            root = container.prepare([self._store.layers.path(diff_id) for diff_id in below], userxattr=True)
            output = _Output(self._log)
            spec = SandboxSpec(
                id=os.path.basename(container.path),
                root=root,
                args=("/bin/sh", "-c", plan_script(sources, epoch_s=epoch_s)),
                tier=self._tier.name,
                id_count=self._tier.id_count,
                env=(
                    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "HOME=/tmp",
                    "LANG=C.UTF-8",
                    "LC_ALL=C.UTF-8",
                    "TZ=UTC",
                    "R_KEEP_PKG_SOURCE=no",
                    "_R_CHECK_COMPILATION_FLAGS_=false",
                    f"SOURCE_DATE_EPOCH={epoch_s}",
                ),
                hostname="build",
                network="none",
                mounts=(BindMount(source=f"{self._home.cache}/archives", target=_PLACE, idmap="ids"),),
                capabilities=default_capabilities("build"),
            )
            status = self._runtime.run(spec, Stdio(capture=output.take))
            output.finish()
            if status != 0:
                raise explain_failure(output.current, output.lines, status)
            for group in groups:
                if group.layer is None:
                    group.layer = self._commit(group, root.upper, epoch_s=epoch_s)
                    keep_layer(self._store, group.key, group.layer)

    def _commit(self, group: SourceGroup, upper: str, *, epoch_s: int) -> LayerResult:
        with self._store.layers.ingest_dir() as ingest:
            make_open_dirs(f"{ingest}/tree", LIBRARY)
            move_installed(group.sources, upper, f"{ingest}/tree{LIBRARY}")
            return commit_tree(self._store, ingest, mtime_cap=epoch_s)


def move_installed(sources: Sequence[Source], upper: str, place: str) -> None:
    """Move what was installed to a folder of the host's. Packages' code ran below ``upper``: no link there is believed."""
    root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        library = open_directory(root, [os.fsencode(part) for part in LIBRARY.strip("/").split("/")])
        try:
            for source in sources:
                os.rename(source.name, f"{place}/{source.name}", src_dir_fd=library)
        finally:
            os.close(library)
    finally:
        os.close(root)


def _with_required(members: Sequence[Source], by_name: dict[str, Source]) -> list[Source]:
    """Return sources and those that they require, directly or not, sorted by name."""
    found: dict[str, Source] = {}
    waiting = list(members)
    while waiting:
        source = waiting.pop()
        if source.name not in found:
            found[source.name] = source
            waiting += [by_name[item.name] for item in source.requires if item.name in by_name]
    return [found[name] for name in sorted(found)]


def plan_script(sources: Sequence[Source], *, epoch_s: int) -> str:
    """Return the script that installs sources, whose files lie in the folder of archives under their hashes. Pure.

    R writes when a package was built into it, and is told the time of the base. It gets a folder that is always the same: for an
    archive it would make one by itself, whose random name debug information keeps.
    """
    from datetime import UTC, datetime

    stamp = datetime.fromtimestamp(epoch_s, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    lines = ["set -eu\numask 022\n", f"mkdir -p {_WORK} {LIBRARY}\ncd {_WORK}\n"]
    options = shlex.join([f"--built-timestamp={stamp}", f"--library={LIBRARY}"])
    for source in sources:
        name = shlex.quote(source.name)
        lines.append(f"echo {shlex.quote(_Output.MARK + f'{source.name} {source.version}')}\n")
        lines.append(f"tar -xf {_PLACE}/{source.sha256} --no-same-owner\n")
        lines.append(f"R CMD INSTALL {options} {name} 2>&1\nrm -rf {name}\n")
    return "".join(lines)


class _Output(Lines):
    """What R prints, line by line: those of the package at hand are kept."""

    MARK = "carboy: installing R package "

    def __init__(self, log: Callable[[str], None]) -> None:
        super().__init__(self._note)
        self._tell = log
        self.lines: list[str] = []
        self.current = ""

    def _note(self, text: str) -> None:
        if text.startswith(self.MARK):
            self.current, self.lines = text.removeprefix(self.MARK), []
        self.lines.append(text)
        self._tell(text.removeprefix("carboy: "))


def explain_failure(package: str, lines: Sequence[str], status: int) -> CarboyError:
    """Return the error of a package that R could not install: its last lines, and the Debian packages that it misses."""
    text = "\n".join(lines[-_TAIL_LINES:])
    if "No space left on device" in text:
        return CarboyError("the disk is full", details=text, hint=FREE_SPACE)
    missing = find_missing(lines)
    hint = "build with a Dockerfile, or take another version of it"
    if missing:
        names = ", ".join(f'"{name}"' for name in missing)
        hint = f"it needs {', '.join(missing)} of the system: [system] packages = [{names}] in carboy.toml"
    return CarboyError(
        f"the R package {package} cannot be installed", details=text or f"R ended with status {status}", hint=hint
    )
