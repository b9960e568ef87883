"""What must be known of an image to start it, kept ready so that a start parses no JSON document of the image.

A *launch record* is derived from a manifest and its configuration once, and kept in the store's cache under the
manifest's digest; it holds nothing that the two documents do not say. Nothing in it steers the host: environment,
command, user and directory apply inside the sandbox only.
"""

from __future__ import annotations

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from carboy.engine.context import Engine
    from carboy.oci.config import ImageConfig
    from carboy.oci.descriptor import Descriptor


class LaunchRecord:
    """How to start one image: unpacked layers (lowest first, diff ids) and the defaults of its configuration."""

    __slots__ = (
        "cmd",
        "entrypoint",
        "env",
        "exposed",
        "health",
        "labels",
        "layers",
        "manifest",
        "stop_signal",
        "user",
        "volumes",
        "workdir",
    )

    def __init__(
        self,
        *,
        manifest: str,
        layers: Sequence[str],
        env: Sequence[str],
        entrypoint: Sequence[str],
        cmd: Sequence[str],
        workdir: str,
        user: str,
        stop_signal: str = "",
        volumes: Sequence[str] = (),
        exposed: Sequence[str] = (),
        labels: Sequence[str] = (),
        health: Sequence[str] = (),
    ) -> None:
        self.manifest = manifest
        self.layers = tuple(layers)
        self.env = tuple(env)
        self.entrypoint = tuple(entrypoint)
        self.cmd = tuple(cmd)
        self.workdir = workdir
        self.user = user
        self.stop_signal = stop_signal
        self.volumes = tuple(volumes)
        self.exposed = tuple(exposed)
        self.labels = tuple(labels)  # "name=value"
        self.health = tuple(health)  # interval, timeout, start period, start interval (seconds), retries, then words

    def encode(self) -> str:
        """Return the record as text: a line feed ends each field, a NUL each item; neither can stand unescaped in one."""
        fields = (
            (self.manifest,), self.layers, self.env, self.entrypoint, self.cmd, (self.workdir,), (self.user,),
            (self.stop_signal,),
            self.volumes, self.exposed, self.labels, self.health,
        )  # fmt: skip
        return "".join("".join(f"{_escape(item)}\0" for item in field) + "\n" for field in fields)

    @classmethod
    def decode(cls, text: str) -> LaunchRecord:
        """Return the record that :meth:`encode` made."""
        fields = [[_unescape(item) for item in line.split("\0")[:-1]] for line in text.split("\n")[:-1]]
        (manifest,), layers, env, entrypoint, cmd, (workdir,), (user,), (stop_signal,), *rest = fields
        volumes, exposed, labels, health = rest
        return cls(
            manifest=manifest, layers=layers, env=env, entrypoint=entrypoint, cmd=cmd, workdir=workdir, user=user,
            stop_signal=stop_signal,
            volumes=volumes, exposed=exposed, labels=labels, health=health,
        )  # fmt: skip


def _escape(item: str) -> str:
    return item.replace("%", "%25").replace("\n", "%0A").replace("\0", "%00")


def _unescape(item: str) -> str:
    return item.replace("%00", "\0").replace("%0A", "\n").replace("%25", "%")


def read_launch_record(engine: Engine, name: str, *, manifest: str | None = None) -> LaunchRecord:
    """Return the launch record of the image ``name`` (or of the manifest digest given), its layers unpacked.

    Raises ``CarboyError`` (125) when there is no such image, with the nearest name as a hint.
    """
    if manifest is not None:
        return _find_record(engine, manifest)
    full = normal_name(name)
    form, _, text = (engine.store.shortcuts.read(full) or "").partition("\n")
    record = _decode(engine, text) if form == _key("") else None
    if record is not None:
        return record
    with engine.store.hold_still() as stamp:
        digest = engine.store.refs.find_digest(full)
        text = engine.store.cache.get_text(_key(digest)) or "" if digest else ""
    record = _decode(engine, text)
    if record is None:
        return _find_record(engine, digest or _find_otherwise(engine, name))
    engine.store.shortcuts.write(full, f"{_key('')}\n{text}", stamp=stamp)
    return record


def _find_record(engine: Engine, digest: str) -> LaunchRecord:
    return _decode(engine, engine.store.cache.get_text(_key(digest))) or _derive(engine, digest)


def _decode(engine: Engine, text: str | None) -> LaunchRecord | None:
    """Return the record unless there is none, or a layer of it is not unpacked any more."""
    record = LaunchRecord.decode(text) if text else None
    if record and all(engine.store.layers.has_hex(layer.partition(":")[2]) for layer in record.layers):
        return record
    return None


def _key(manifest: str) -> str:
    return f"launch-record-4:{manifest}"


def _find_otherwise(engine: Engine, name: str) -> str:
    """Return the manifest's digest of an image that is named by other means than its name."""
    from carboy.engine.images import resolve_image

    return str(resolve_image(engine, name, code=125).digest)


def normal_name(name: str) -> str:
    """Return the full form of an image name.

    A name that is already full ("registry/path:tag" as the store keeps it) is found without parsing, so the common
    short form is expanded here by the same rule that ``Reference`` applies and checks.
    """
    first, slash, _ = name.partition("/")
    full = name if slash and ("." in first or ":" in first or first == "localhost") else f"docker.io/{name}"
    if full.startswith("docker.io/") and full.count("/") == 1:
        full = f"docker.io/library/{full[10:]}"
    return full if ":" in full.rpartition("/")[2] or "@" in full else f"{full}:latest"


def _derive(engine: Engine, manifest_digest: str) -> LaunchRecord:
    from carboy.layers.apply import unpack_layer
    from carboy.oci import mediatypes
    from carboy.oci.config import parse_config
    from carboy.oci.digest import Digest
    from carboy.oci.index import is_index
    from carboy.oci.manifest import parse_manifest

    store = engine.store
    digest = Digest.parse(manifest_digest)
    data = store.blobs.read(digest)
    if is_index(data):
        from carboy.images.platforms import choose_manifest
        from carboy.oci.descriptor import Descriptor as Described

        chosen = choose_manifest(store, Described(media_type=mediatypes.INDEX, digest=digest, size=len(data)), code=125)
        record = _find_record(engine, str(chosen.digest))
        store.cache.put_text(_key(manifest_digest), "launch", record.encode(), [digest])
        return record
    manifest = parse_manifest(data)
    config = parse_config(store.blobs.read(manifest.config.digest))
    _check_runs(config)
    if len(config.diff_ids) != len(manifest.layers):
        raise CarboyError(
            "the image's configuration does not list as many layers as its manifest",
            details=f"manifest {manifest_digest}",
            hint="`carboy system check` tells whether the store is damaged; build or load the image again",
            code=125,
        )
    layers: list[Descriptor] = list(manifest.layers)
    for descriptor, diff_id in zip(layers, config.diff_ids, strict=True):
        unpack_layer(store, descriptor, diff_id=diff_id, tier_chown=engine.tier.name != "single")
    run = config.config
    record = LaunchRecord(
        manifest=manifest_digest,
        layers=[str(diff_id) for diff_id in config.diff_ids],
        env=run.Env or (),
        entrypoint=run.Entrypoint or (),
        cmd=run.Cmd or (),
        workdir=run.WorkingDir or "/",
        user=run.User or "",
        stop_signal=run.StopSignal,
        volumes=sorted(run.Volumes or ()),
        exposed=sorted(run.ExposedPorts or ()),
        labels=[f"{name}={value}" for name, value in (run.Labels or {}).items()],
        health=_read_health(run.Healthcheck),
    )
    store.cache.put_text(_key(manifest_digest), "launch", record.encode(), [digest])
    return record


def _check_runs(config: ImageConfig) -> None:
    """Raise ``CarboyError`` (125) for an image of another processor, unless this machine has an emulator for it."""
    from carboy.images.binfmt import explain_missing
    from carboy.oci.platform import Platform

    machine = Platform.current()
    if config.platform.architecture == machine.architecture:
        return
    reason, hint = explain_missing(config.platform.architecture, machine=machine.architecture)
    if reason:
        raise CarboyError(
            f"the image is for {config.platform}, and this machine is {machine}", details=reason, hint=hint, code=125
        )


def _read_health(document: dict[str, Any] | None) -> list[str]:
    """Return a HEALTHCHECK in the record's form; times stand in nanoseconds in the image (Docker's image spec)."""
    test = (document or {}).get("Test") or []
    if document is None or not isinstance(test, list) or test[:1] in ([], ["NONE"]):
        return []
    words = ["/bin/sh", "-c", *test[1:]] if test[0] == "CMD-SHELL" else test[1:]
    times = [str((document.get(name) or default) / 1e9) for name, default in _HEALTH_TIMES]
    return [*times, str(document.get("Retries") or 3), *map(str, words)]


_HEALTH_TIMES = (
    ("Interval", 30_000_000_000), ("Timeout", 30_000_000_000), ("StartPeriod", 0), ("StartInterval", 5_000_000_000),
)  # fmt: skip
