"""``carboy save`` and ``load``: images as archives."""

from __future__ import annotations

import os

from carboy.base.fs import translate_os_errors
from carboy.cli.commands.files.archive import open_output
from carboy.cli.commands.files.copy import Stream, check_no_terminal
from carboy.cli.options import Parser
from carboy.engine.context import Engine
from carboy.errors import CarboyError


def save(words: list[str]) -> int:
    """Write images as one archive, to a file or to standard output."""
    parser = Parser(
        "save [OPTIONS] IMAGE...",
        "Write images as one archive (tar): an OCI image layout that `docker load` takes as well.",
    )
    parser.add_argument("-o", "--output", default="", metavar="FILE", help="write to a file, not to standard output")
    parser.add_argument(
        "--no-documents", action="store_true", help="without SBOM, provenance, licences and lock beside the images"
    )
    parser.add_argument("image", nargs="+", metavar="IMAGE")
    options = parser.parse_args(words)
    if not options.output:
        check_no_terminal(1, "name a file with -o, or redirect it")
    from carboy.engine.transfer.archives import choose_images, save_images

    engine = Engine.open(os.environ)
    images = choose_images(engine, options.image)
    with open_output(options.output) as out:
        save_images(engine, images, out, documents=not options.no_documents)
    return 0


def load(words: list[str]) -> int:
    """Take the images of an archive, from a file or from standard input, and print their names."""
    parser = Parser(
        "load [OPTIONS]",
        "Take the images of an archive (tar, compressed or not) that `carboy save`, `docker save` or `skopeo copy` wrote.",
    )
    parser.add_argument("-i", "--input", default="", metavar="FILE", help="read a file, not standard input")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the digests only")
    options = parser.parse_args(words)
    if not options.input and os.isatty(0):
        raise CarboyError("an archive is not read from a terminal", hint="name a file with -i, or redirect it", code=2)
    from carboy.engine.transfer.archives import load_images

    with translate_os_errors(f"read {options.input}"):
        fd = os.open(options.input, os.O_RDONLY | os.O_CLOEXEC) if options.input else 0
    for image in load_images(Engine.open(os.environ), Stream(fd)):
        digest = str(image.descriptor.digest)
        if options.quiet:
            print(digest)
            continue
        lines = [f"Loaded image: {name.familiar}" for name in image.names]
        print("\n".join(lines or [f"Loaded image ID: {digest}"]))
    return 0
