"""Image configurations. Source: OCI image-spec, config.md, with Docker's extensions (Healthcheck, Shell, OnBuild)."""

from __future__ import annotations

from typing import Any

import msgspec

from carboy.oci.digest import Digest
from carboy.oci.document import convert, encode, parse_json
from carboy.oci.errors import InvalidDocumentError
from carboy.oci.platform import Platform


class RunConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a container of the image starts; the names are the documents' own."""

    User: str = ""
    ExposedPorts: dict[str, Any] | None = None
    Env: list[str] | None = None
    Entrypoint: list[str] | None = None
    Cmd: list[str] | None = None
    Volumes: dict[str, Any] | None = None
    WorkingDir: str = ""
    Labels: dict[str, str] | None = None
    StopSignal: str = ""
    Healthcheck: dict[str, Any] | None = None
    Shell: list[str] | None = None
    OnBuild: list[str] | None = None
    ArgsEscaped: bool = False


class History(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of an image's history; ``empty_layer`` when the step changed no file."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class _RootFs(msgspec.Struct, frozen=True, kw_only=True):
    type: str
    diff_ids: list[str]


class _Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    architecture: str
    os: str
    rootfs: _RootFs
    created: str = ""
    author: str = ""
    variant: str = ""
    config: RunConfig | None = None
    history: list[History] | None = None


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """An image's configuration; ``diff_ids`` are its layers' uncompressed digests, lowest first."""

    platform: Platform
    diff_ids: tuple[Digest, ...]
    config: RunConfig
    created: str
    history: tuple[History, ...]
    raw: bytes
    author: str = ""


def parse_config(data: bytes) -> ImageConfig:
    """Return the configuration in ``data``. Raises ``InvalidDocumentError``."""
    document = convert(parse_json(data, "image configuration"), _Document, "image configuration")
    if document.rootfs.type != "layers":
        raise InvalidDocumentError(f"the image's root is of the unknown kind {document.rootfs.type!r}")
    run = document.config or RunConfig()
    for item in run.Env or ():
        if "\0" in item or item.startswith("=") or "=" not in item:
            raise InvalidDocumentError(f"the image's environment holds {item[:80]!r}, which is not NAME=VALUE")
    return ImageConfig(
        platform=Platform(os=document.os, architecture=document.architecture, variant=document.variant or None),
        diff_ids=tuple(Digest.parse(text) for text in document.rootfs.diff_ids),
        config=run,
        created=document.created,
        history=tuple(document.history or ()),
        raw=data,
        author=document.author,
    )


def make_config(
    *,
    platform: Platform,
    diff_ids: tuple[Digest, ...],
    config: RunConfig,
    created: str,
    history: tuple[History, ...],
    author: str = "",
) -> ImageConfig:
    """Return a new configuration with its bytes; ``created`` is an RFC 3339 time."""
    document = _Document(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant or "",
        rootfs=_RootFs(type="layers", diff_ids=[str(diff_id) for diff_id in diff_ids]),
        created=created,
        author=author,
        config=config,
        history=list(history),
    )
    return ImageConfig(
        platform=platform,
        diff_ids=diff_ids,
        config=config,
        created=created,
        history=history,
        raw=encode(document),
        author=author,
    )
