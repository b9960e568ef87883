"""Where what ``carboy build`` makes goes: ``--output`` and what is written of it for programs."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors, write_durable
from carboy.errors import CarboyError
from carboy.oci.reference import Reference

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterator

    from carboy.attest.request import AttestRequest
    from carboy.attest.slsa import BuildFacts
    from carboy.engine.builds.outputs import Exported
    from carboy.engine.context import Engine
    from carboy.images.output.request import Output
    from carboy.layers.tarwrite import Writable
    from carboy.oci.descriptor import Descriptor

_OUTPUT = "type=oci|docker|tar|local|image|registry,dest=PATH, or a folder: where the result goes (default: the store)"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOutputs:
    """What was asked for: ``outputs`` (none: the store, under ``names``), files that tell of it ("": none), attestations."""

    outputs: tuple[Output, ...]
    names: tuple[str, ...]
    iidfile: str
    metadata_file: str
    attest: AttestRequest

    @property
    def store_names(self) -> tuple[str, ...]:
        """The names that the build itself is to give."""
        return () if self.outputs else self.names

    @property
    def shown_names(self) -> tuple[str, ...]:
        """The names that the store has for the image now, as the person wrote them."""
        if not self.outputs:
            return self.names
        return self.names if any(output.is_stored and not output.names for output in self.outputs) else ()

    @property
    def uses_stdout(self) -> bool:
        """Whether standard output belongs to an archive."""
        return any(output.dest == "-" for output in self.outputs)

    def open_lease(self, engine: Engine) -> AbstractContextManager[object]:
        """Return what keeps the result from a clean-up until it is where it belongs."""
        return engine.store.lease("output") if self.outputs or self.attest else nullcontext()


def add_output_options(parser: ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("-o", "--output", metavar="OUTPUT", action="append", default=[], help=_OUTPUT)
    parser.add_argument("--load", action="store_true", help="the store, besides other outputs: --output type=docker")
    parser.add_argument("--push", action="store_true", help="to the registries of its names: --output type=registry")
    parser.add_argument("--sbom", metavar="true|false", default="", help="list the packages that the image has (SPDX)")
    parser.add_argument("--provenance", metavar="true|false|mode=min|mode=max", default="",
                        help="tell how the image was built (SLSA); neither is done unless asked for")  # fmt: skip
    parser.add_argument("--attest", metavar="type=sbom|provenance,...", action="append", default=[],
                        help="the same, in one form for both")  # fmt: skip
    parser.add_argument("--iidfile", metavar="PATH", default="", help="write the digest to a file")
    parser.add_argument("--metadata-file", metavar="PATH", default="", help="write what was built to a file, as JSON")


def has_outputs(options: Namespace) -> bool:
    """Return whether there is more to do with a result than to name it."""
    told = options.iidfile or options.metadata_file
    said = options.sbom or options.provenance or options.attest
    return bool(options.output or options.load or options.push or told or said)


def read_outputs(options: Namespace) -> BuildOutputs:
    """Return what the options ask for. Files of an earlier build that would tell of this one go. Raises ``CarboyError`` (2)."""
    from carboy.attest.request import parse_attests
    from carboy.engine.builds.outputs import check_names, check_outputs
    from carboy.images.output.request import parse_outputs

    outputs = parse_outputs(options.output, load=options.load, push=options.push)
    found = BuildOutputs(
        outputs=outputs,
        names=tuple(options.tag),
        iidfile=options.iidfile,
        metadata_file=options.metadata_file,
        attest=parse_attests(options.attest, sbom=options.sbom, provenance=options.provenance),
    )
    check_outputs(outputs)
    check_names(outputs, options.tag)
    if found.uses_stdout:
        if os.isatty(1):
            brief = "dest file is required: refusing to write an archive to a terminal"
            raise CarboyError(brief, hint="write dest=FILE, or redirect standard output", code=2)
        if options.json:
            raise CarboyError("--json and an output to standard output exclude each other", hint="dest=FILE", code=2)
    for path in (found.iidfile, found.metadata_file):
        if path:
            with translate_os_errors(f"write {path}"):
                _remove(path)
    return found


def _remove(path: str) -> None:
    try:
        if os.path.isfile(path):
            os.unlink(path)
    except FileNotFoundError:
        return


def export(engine: Engine, descriptor: Descriptor, wanted: BuildOutputs, facts: BuildFacts | None = None) -> Exported:
    """Send a build's image where it was to go, and write the files that tell of it. Raises ``CarboyError``.

    ``facts`` are what a provenance tells.
    """
    from carboy.engine.builds.outputs import Exported, describe_image, export_image

    names = tuple(Reference.parse(name) for name in wanted.names)
    attester = None
    if wanted.attest and facts is not None:
        from carboy.engine.builds.attestations import Attester

        attester = Attester(engine, wanted.attest, facts)
    exported = Exported(descriptor=descriptor, names=names)
    if wanted.outputs:
        from carboy.cli.commands.registry.progress import open_transfers

        with open_transfers(sys.stderr, quiet=not any(output.push for output in wanted.outputs)) as transfers:
            exported = export_image(
                engine,
                descriptor,
                wanted.outputs,
                names=names,
                open_file=_open_file,
                attester=attester,
                transfers=transfers,
            )
    elif attester is not None:
        attester.attest(descriptor, names)
    if wanted.iidfile:
        _write(wanted.iidfile, str((exported.top or descriptor).digest).encode())
    if wanted.metadata_file:
        _write(wanted.metadata_file, describe_image(engine, exported))
    return exported


def _write(path: str, data: bytes) -> None:
    with translate_os_errors(f"write {path}"):
        if os.path.exists(path) and not os.path.isfile(path):  # a pipe or /dev/stdout: written to, not replaced
            with open(path, "wb") as stream:
                stream.write(data)
        else:
            write_durable(os.path.realpath(path), data, mode=0o644)


@contextmanager
def _open_file(dest: str) -> Iterator[Writable]:
    from carboy.cli.commands.files.archive import open_output

    sys.stdout.flush()
    with open_output("" if dest == "-" else dest) as out:
        yield out
