"""Requirements to layers, by uv inside a sandbox on the image's base.

uv runs with the image's own Python and nothing of the host but its caches, certificates and local indexes: a package that must be
built from source runs its code in there, not on the host.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from carboy.base.fs import translate_os_errors
from carboy.environments.connection import Connection, read_step_files
from carboy.environments.indexes import redact
from carboy.environments.reach import find_network
from carboy.errors import CarboyError
from carboy.layers.apply import LayerResult, commit_tree
from carboy.runtime.native.launch import Stdio
from carboy.runtime.spec import BindMount, FileMount, SandboxSpec, default_capabilities
from carboy.snapshots.snapshot import open_container

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carboy.base.home import Home
    from carboy.environments.indexes import IndexConfig
    from carboy.linux.identity import Tier
    from carboy.oci.digest import Digest
    from carboy.runtime.attend import Watcher
    from carboy.store.store import Store

ENVIRONMENT = "/opt/env"
LOCK = "carboy-lock.txt"
_TAIL_LINES = 30

# Run by the image's shell: small on purpose, each line one thing that uv or Python does.
_SCRIPT = """set -eu
umask 022
uv=/run/carboy/uv
cd /run/carboy/work
if [ ! -e lock.txt ]; then
    $uv pip compile requirements.txt --generate-hashes --no-header --no-annotate --quiet \
        --python /usr/bin/python3 --output-file lock.txt >/dev/null
fi
$uv venv /opt/env --python /usr/bin/python3 --no-project --quiet
if grep -q '^[A-Za-z0-9]' lock.txt; then
    $uv pip install --python /opt/env/bin/python --require-hashes --link-mode copy -r lock.txt
fi
/usr/bin/python3 -I compile.py "$(/opt/env/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
sed -i '/^uv = /d' /opt/env/pyvenv.cfg
find /opt/env -name uv_cache.json -delete
rm -f /opt/env/.lock /opt/env/.gitignore /opt/env/CACHEDIR.TAG
cp lock.txt /opt/env/carboy-lock.txt
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentRequest:
    """What to install on which base: ``requirements`` in pip's format, ``base`` layers lowest first, times no later than
    ``epoch_s``. ``locked`` says that every line already has its hash.
    """

    requirements: str
    locked: bool
    base: tuple[Digest, ...]
    epoch_s: int
    indexes: IndexConfig


class Runtime(Protocol):
    """What runs the step."""

    def run(self, spec: SandboxSpec, stdio: Stdio, *, watcher: Watcher | None = None) -> int:
        """Run a sandbox to its end and return its exit status; ``watcher`` sees its events."""
        ...


class EnvironmentAssembler(Protocol):
    """Turns a request into layers; one today, one a package later, behind the same seam."""

    def assemble(self, request: EnvironmentRequest, *, log: Callable[[str], None]) -> Sequence[LayerResult]:
        """Return the environment's layers, lowest first, durable in the store. Raises ``CarboyError`` with uv's reason."""
        ...


class OneLayerAssembler:
    """The whole environment as one layer at /opt/env."""

    def __init__(self, *, store: Store, home: Home, runtime: Runtime, tier: Tier) -> None:
        self._store = store
        self._home = home
        self._runtime = runtime
        self._tier = tier

    def assemble(self, request: EnvironmentRequest, *, log: Callable[[str], None]) -> Sequence[LayerResult]:
        """Install into a fresh sandbox on the base, and take /opt/env out of what it wrote."""
        container_id = os.urandom(32).hex()
        with (
            translate_os_errors("install the requirements"),
            self._store.layers.ingest_dir() as ingest,
            open_container(self._home, container_id) as container,
        ):
            container.claim([str(diff_id) for diff_id in request.base])
            trees = [self._store.layers.path(diff_id) for diff_id in request.base]
            root = container.prepare(trees, userxattr=True)
            work = f"{container.path}/work"
            self._write_inputs(work, request)
            reach = find_network(self._tier.name, dict(request.indexes.env), request.requirements)
            if reach.network == "host":
                log(f"on the host's network: {reach.reason}")
            spec = self._plan(
                container_id,
                mounts=(*read_step_files(network=reach.network, hostname="build"), *self._mounts(work, request)),
                request=request,
                root=root,
                network=reach.network,
            )
            output = _Output(log)
            connection = Connection(container_id, tier=self._tier.name) if reach.network == "private" else None
            status = self._runtime.run(spec, Stdio(capture=output.take), watcher=connection)
            if status != 0:
                raise _failure(output.lines, status)
            os.mkdir(f"{ingest}/tree/opt", 0o755)
            os.chmod(f"{ingest}/tree/opt", 0o755)  # noqa: S103  whatever the umask, as every /opt is
            os.rename(f"{root.upper}/opt/env", f"{ingest}/tree/opt/env")
            owners: dict[bytes, tuple[int, int]] | None = {} if self._tier.kind == "single" else None
            return [commit_tree(self._store, ingest, mtime_cap=request.epoch_s, owners=owners)]

    def _write_inputs(self, work: str, request: EnvironmentRequest) -> None:
        os.mkdir(work, 0o755)
        name = "lock.txt" if request.locked else "requirements.txt"
        files = {name: request.requirements, "compile.py": _read_compile_step()}
        for file_name, text in files.items():
            with open(f"{work}/{file_name}", "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(f"{work}/{file_name}", 0o644)

    def _mounts(self, work: str, request: EnvironmentRequest) -> list[BindMount]:
        import uv

        cache = f"{self._home.cache}/uv-{self._tier.kind}"
        os.makedirs(cache, mode=0o700, exist_ok=True)
        mounts = [
            BindMount(source=uv.find_uv_bin(), target="/run/carboy/uv"),
            BindMount(source=cache, target="/run/carboy/cache", read_only=False),
            BindMount(source=work, target="/run/carboy/work", read_only=False),
        ]
        if request.indexes.ca_bundle is not None:
            bundle = os.path.realpath(request.indexes.ca_bundle)
            mounts.append(BindMount(source=bundle, target="/run/carboy/ca.pem"))
        return mounts + [BindMount(source=folder, target=folder) for folder in request.indexes.folders]

    def _plan(
        self,
        container_id: str,
        *,
        mounts: tuple[BindMount | FileMount, ...],
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
        if request.indexes.ca_bundle is not None:
            env |= {"SSL_CERT_FILE": "/run/carboy/ca.pem", "REQUESTS_CA_BUNDLE": "/run/carboy/ca.pem"}
        return SandboxSpec(
            id=container_id,
            root=root,  # type: ignore[arg-type]
            args=("/bin/sh", "-c", _SCRIPT),
            tier=self._tier.name,
            id_count=self._tier.id_count,
            env=tuple(f"{name}={value}" for name, value in sorted(env.items())),
            hostname="build",
            network="host" if network == "host" else "none",
            announce_network=network != "host",
            mounts=mounts,
            capabilities=default_capabilities("build"),
        )


class _Output:
    """Splits what the step prints into lines, keeps the last, and passes them on with passwords taken out."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._rest = b""
        self.lines: list[str] = []

    def take(self, data: bytes) -> None:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            text = redact(line.decode("utf-8", "replace"))
            self.lines = [*self.lines[1 - _TAIL_LINES :], text]
            self._log(text)


def _failure(lines: list[str], status: int) -> CarboyError:
    text = "\n".join(lines).strip()
    full = "No space left on device" in text or "os error 28" in text
    if full:
        return CarboyError("the disk is full", details=text, hint="free some space, or `carboy system prune`")
    return CarboyError(
        "the requirements cannot be installed",
        details=text or f"uv ended with status {status}",
        hint="change the requirements, or the index that PIP_INDEX_URL or UV_INDEX names",
    )


def _read_compile_step() -> str:
    with open(os.path.join(os.path.dirname(__file__), "compile_step.py"), encoding="utf-8") as file:
        return file.read()


def installer_version() -> str:
    """Return which uv installs, and for which processor: part of what an environment depends on."""
    from importlib.metadata import version

    return f"uv {version('uv')} {platform.machine()}"
