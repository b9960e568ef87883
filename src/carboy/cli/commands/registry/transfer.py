"""``carboy pull`` and ``push``: images from registries, and to them."""

from __future__ import annotations

import os
import sys

from carboy.cli.commands.registry.progress import open_transfers
from carboy.cli.options import Parser
from carboy.engine.context import Engine


def pull(words: list[str]) -> int:
    """Fetch an image, or all of a repository."""
    parser = Parser(
        "pull [OPTIONS] NAME[:TAG|@DIGEST]", "Fetch an image from a registry; what is here of it is not fetched again."
    )
    parser.add_argument("-a", "--all-tags", action="store_true", help="all tags of the repository")
    parser.add_argument("--platform", default="", metavar="OS/ARCH", help="for another platform than this machine's")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the names only")
    parser.add_argument("name", metavar="NAME[:TAG|@DIGEST]")
    options = parser.parse_args(words)
    from carboy.engine.transfer import registries

    engine = Engine.open(os.environ)

    def say(text: str) -> None:
        if not options.quiet:
            print(text, flush=True)

    with open_transfers(sys.stdout, quiet=options.quiet) as progress:
        pulled = registries.pull(
            engine, options.name, platform=options.platform, all_tags=options.all_tags, progress=progress, say=say
        )
    for image in pulled:
        say(f"Digest: {image.top}")
        state = "Downloaded newer image for" if image.is_new else "Image is up to date for"
        say(f"Status: {state} {image.name.familiar}")
        print(image.name)
    return 0


def push(words: list[str]) -> int:
    """Send an image, or all images of a repository."""
    parser = Parser(
        "push [OPTIONS] NAME[:TAG]",
        "Send an image to the registry that its name says; what is there is not sent again.",
    )
    parser.add_argument("-a", "--all-tags", action="store_true", help="all images of the repository that are here")
    parser.add_argument(
        "--compression",
        default="gzip",
        choices=("gzip", "zstd", "uncompressed"),
        help="of the layers: gzip, which all tools read; zstd, faster and smaller; uncompressed (default: gzip)",
    )
    parser.add_argument(
        "--no-documents", action="store_true", help="without SBOM, provenance, licences and lock beside the image"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="print the digests only")
    parser.add_argument("name", metavar="NAME[:TAG]")
    options = parser.parse_args(words)
    from carboy.engine.transfer import registries
    from carboy.images.output.request import Compression
    from carboy.oci.reference import Reference

    engine = Engine.open(os.environ)
    if not options.quiet:
        name = Reference.parse(options.name)
        print(f"The push refers to repository [{name.registry}/{name.repository}]", flush=True)
    with open_transfers(sys.stdout, quiet=options.quiet) as progress:
        pushed = registries.push(
            engine,
            options.name,
            all_tags=options.all_tags,
            compression=Compression(kind=options.compression),
            documents=not options.no_documents,
            progress=progress,
            note=lambda text: print(f"note: {text}", file=sys.stderr),
        )
    for image in pushed:
        if options.quiet:
            print(image.descriptor.digest)
        else:
            print(f"{image.name.tag}: digest: {image.descriptor.digest} size: {image.descriptor.size}")
    return 0
