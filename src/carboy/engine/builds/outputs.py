"""What a build's image becomes beside one of the store: each ``--output``, carried out."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.errors import CarboyError
from carboy.images.output.request import DOCKER, LOCAL, NOTHING, STDOUT, TAR, Output
from carboy.images.transport.progress import SilentTransfer
from carboy.layers.tarwrite import Writable
from carboy.oci import mediatypes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.engine.builds.attestations import Attester
    from carboy.engine.context import Engine
    from carboy.images.archive import SavedImage
    from carboy.images.transport.progress import TransferProgress
    from carboy.oci.descriptor import Descriptor
    from carboy.oci.reference import Reference

_NOBODY = SilentTransfer()
# Gives what is written to a file, or to standard output for "-": there whole when the block ends well, or not at all.
Opener = Callable[[str], AbstractContextManager[Writable]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What came of the outputs: the last image that left, or was named (None: only files), and its names.

    ``index`` is what a registry has in its place, or what holds it together with what is said of it, where it left in one.
    """

    descriptor: Descriptor | None
    names: tuple[Reference, ...]
    index: Descriptor | None = None

    @property
    def top(self) -> Descriptor | None:
        """What others find the image by."""
        return self.index or self.descriptor


def check_outputs(outputs: Sequence[Output]) -> None:
    """Refuse destinations that cannot be, before anything is built. Raises ``CarboyError`` (2)."""
    for output in outputs:
        if not output.dest or output.dest == STDOUT:
            continue
        try:
            is_folder = stat.S_ISDIR(os.stat(output.dest).st_mode)
        except FileNotFoundError:
            above = os.path.dirname(os.path.abspath(output.dest))
            if not output.is_folder and not os.path.isdir(above):
                raise CarboyError(f"there is no folder {above}", hint="make it first", code=2) from None
            continue
        except OSError as error:
            raise CarboyError(f"{output.dest}: {error.strerror}", hint="name another place", code=2) from error
        if is_folder and not output.is_folder:
            hint = f"name a file in it: dest={output.dest}/FILE, or type=local for the files themselves"
            raise CarboyError(f"destination file {output.dest} is a directory", hint=hint, code=2)
        if output.is_folder and not is_folder:
            raise CarboyError(f"destination directory {output.dest} is a file", hint="name a folder", code=2)


def export_image(
    engine: Engine,
    descriptor: Descriptor,
    outputs: Sequence[Output],
    *,
    names: Sequence[Reference],
    open_file: Opener,
    attester: Attester | None = None,
    transfers: TransferProgress = _NOBODY,
) -> Exported:
    """Carry out the outputs of a build, one after the other; ``names`` are those of outputs that have none of their own.

    ``transfers`` hears of what is pushed.

    What ``attester`` says of the image, and its documents (``engine.documents``), go with it into the store and into OCI layouts;
    Docker's archives have no place for it.

    The caller holds a lease. Raises ``CarboyError``; what is at the destination of an archive then is what was there.
    """
    # Here, and below: most builds have no output but the store.
    from carboy.engine.documents.making import carry_making
    from carboy.engine.documents.referrers import add_documents
    from carboy.images.archive import SavedImage, wrap_attested
    from carboy.images.output.compress import compress_image
    from carboy.images.output.files import write_folder, write_tar

    last, last_names, index = None, tuple(names), None
    for output in outputs:
        if output.kind == NOTHING:
            continue
        where = "standard output" if output.dest == STDOUT else output.dest
        with translate_os_errors(f"write {where}"):
            if output.kind == LOCAL:
                write_folder(engine.store, descriptor, output.dest)
                continue
            if output.kind == TAR:
                with open_file(output.dest) as out:
                    write_tar(engine.store, descriptor, out)
                continue
            last, last_names = (
                compress_image(engine.store, descriptor, output.compression),
                output.names or tuple(names),
            )
            has_place = output.is_stored or output.kind != DOCKER
            said = attester.attest(last, last_names) if attester is not None and has_place else ()
            image, index = SavedImage(descriptor=last, names=last_names, attestations=said), None
            if output.is_stored:
                carry_making(engine.store, descriptor, last)
                for name in last_names:
                    engine.store.refs.set(str(name), last)
                if output.push:
                    index = _push(engine, last, last_names, output, transfers)
                continue
            if has_place:
                image = add_documents(engine, image, built=descriptor)
            _write_image(engine, image, output, open_file)
            if said:
                index, _ = wrap_attested(engine.store, image)
    return Exported(descriptor=last, names=last_names, index=index)


def _push(
    engine: Engine, image: Descriptor, names: Sequence[Reference], output: Output, transfers: TransferProgress
) -> Descriptor:
    """Send an image to the registries of its names, and return what they have then."""
    from carboy.engine.transfer.registries import USUAL_COMPRESSION, send
    from carboy.remote.repository import Registries

    compression = output.compression if output.compression.kind else USUAL_COMPRESSION
    with Registries(engine.home.path, engine.environ) as registries:
        sent = [
            send(
                engine,
                registries,
                name,
                image,
                compression=compression,
                progress=transfers,
                insecure=output.insecure,
                by_digest=output.by_digest,
            )
            for name in names
        ]
    return sent[-1]


def check_names(outputs: Sequence[Output], names: Sequence[str]) -> None:
    """Refuse to push what has no name, before anything is built. Raises ``CarboyError`` (2)."""
    if any(output.push and not (output.names or names) for output in outputs):
        raise CarboyError("tag is needed when pushing to registry", hint="add -t REGISTRY/NAME:TAG", code=2)


def _write_image(engine: Engine, image: SavedImage, output: Output, open_file: Opener) -> None:
    from carboy.images.archive import write_archive
    from carboy.images.output.layout import write_layout

    docker = output.kind == DOCKER
    if docker and image.descriptor.media_type in mediatypes.INDEXES:
        raise CarboyError(
            "an archive of Docker's form has one platform", hint="use --output type=oci, or build for one --platform"
        )
    if output.is_folder:
        write_layout(engine.store, [image], output.dest, docker=docker)
        return
    with open_file(output.dest) as out:
        write_archive(engine.store, [image], out, docker=docker)


def describe_image(engine: Engine, exported: Exported) -> bytes:
    """Return the document of ``--metadata-file``."""
    from carboy.images.output.metadata import make_metadata
    from carboy.oci.config import parse_config
    from carboy.oci.manifest import parse_manifest

    if exported.descriptor is None:
        return make_metadata(None)
    if exported.descriptor.media_type in mediatypes.INDEXES:
        return make_metadata(exported.top, names=exported.names)
    manifest = parse_manifest(engine.store.blobs.read(exported.descriptor.digest))
    config = parse_config(engine.store.blobs.read(manifest.config.digest))
    return make_metadata(exported.top, config=manifest.config, created=config.created, names=exported.names)
