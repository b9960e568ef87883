"""``carboy sbom`` and ``carboy licenses``."""

from __future__ import annotations

import json
import os

from carboy.cli.options import Parser
from carboy.cli.render import printable, render_table
from carboy.engine.context import Engine
from carboy.engine.documents.inventory import take_inventory

_FORMATS = ("table", "spdx", "cyclonedx")
_SHOWN_WIDTH = 60


def sbom(words: list[str]) -> int:
    """Show the packages in an image, for people or as a document."""
    parser = Parser(
        "sbom [OPTIONS] IMAGE",
        "Show which packages (Debian, Alpine, Python, R, conda) are in an image, as its files say it.",
    )
    parser.add_argument("--format", choices=_FORMATS, default="table", help="spdx: SPDX 2.3; cyclonedx: CycloneDX 1.6")
    parser.add_argument("--platform", metavar="OS/ARCH", default="", help="of an image of several platforms")
    parser.add_argument("image", metavar="IMAGE")
    options = parser.parse_args(words)
    found = take_inventory(Engine.open(os.environ), options.image, platform=options.platform)
    if options.format != "table":
        document = found.as_spdx() if options.format == "spdx" else found.as_cyclonedx()
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    rows = [(p.name, p.version, p.kind, _shorten(p.licence or p.licence_text)) for p in found.packages]
    print(render_table(("NAME", "VERSION", "TYPE", "LICENCE"), rows))
    return 0


def licenses(words: list[str]) -> int:
    """Show the licences of an image's packages, grouped."""
    parser = Parser(
        "licenses [OPTIONS] IMAGE",
        "Show the licences of the packages in an image, as they say it: metadata, DESCRIPTION, copyright files.",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    parser.add_argument("--platform", metavar="OS/ARCH", default="", help="of an image of several platforms")
    parser.add_argument("image", metavar="IMAGE")
    options = parser.parse_args(words)
    found = take_inventory(Engine.open(os.environ), options.image, platform=options.platform)
    if options.json:
        print(json.dumps(found.as_licences(), indent=2, ensure_ascii=False))
        return 0
    for licence, packages in found.group_by_licence().items():
        print(f"{printable(licence)}  ({len(packages)})")
        print("".join(f"    {printable(p.name)} {printable(p.version)} ({p.kind})\n" for p in packages), end="")
    return 0


def provenance(words: list[str]) -> int:
    """Show how an image was made, or the lock of what it was made with."""
    parser = Parser(
        "provenance [OPTIONS] IMAGE",
        "Show how an image was made: SLSA provenance 1, as an in-toto statement; or with --lock the carboy.lock of its packages.",
    )
    parser.add_argument(
        "--lock", action="store_true", help="of an image of a folder: which packages, with their hashes"
    )
    parser.add_argument("--platform", metavar="OS/ARCH", default="", help="of an image of several platforms")
    parser.add_argument("image", metavar="IMAGE")
    options = parser.parse_args(words)
    from carboy.engine.documents.referrers import read_document
    from carboy.oci import mediatypes

    kind = mediatypes.LOCK if options.lock else mediatypes.IN_TOTO
    data = read_document(Engine.open(os.environ), options.image, kind, platform=options.platform).decode()
    print(data.rstrip("\n") if options.lock else json.dumps(json.loads(data), indent=2, ensure_ascii=False))
    return 0


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_WIDTH else f"{text[: _SHOWN_WIDTH - 3]}..."
