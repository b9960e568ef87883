"""``carboy verify``."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from carboy.build.sources import read_front
from carboy.cli.commands.build_options import add_options, add_step_options, check_python, list_words, read_request
from carboy.cli.commands.builds.rebuilding import find_program
from carboy.cli.commands.files.differences import list_differences, render_differences
from carboy.cli.options import Parser
from carboy.cli.render import printable, render_table
from carboy.comparison.images import MEANINGS
from carboy.engine.context import Engine
from carboy.engine.images import resolve_image
from carboy.engine.verification.origins import Origin, find_origin
from carboy.engine.verification.rebuild import Source
from carboy.engine.verification.verify import read_recorded, verify_image
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from argparse import Namespace

    from carboy.engine.verification.verify import Verification
    from carboy.oci.descriptor import Descriptor


def verify(words: list[str]) -> int:
    """Build an image again elsewhere and otherwise, and say whether it is the same: 0 when it is, 1 when it is not."""
    parser = Parser(
        "verify [OPTIONS] IMAGE",
        "Build an image again from its folder, with empty caches and under other conditions, and compare the two.",
    )
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument(
        "--from", dest="folder", metavar="FOLDER", help="what it was built from (default: what this home noted)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")
    parser.add_argument("-q", "--quiet", action="store_true", help="print nothing; the exit status tells")
    add_step_options(parser)
    options = parser.parse_args(words)
    engine = Engine.open(os.environ)

    def say(text: str) -> None:
        if not options.quiet:
            print(f"verify: {text}", file=sys.stderr)

    source = _find_source(engine, options)
    found = verify_image(engine, options.image, source, program=find_program(), say=say)
    if options.json:
        print(json.dumps(_describe(found), indent=2, ensure_ascii=False))
    elif not options.quiet:
        print(_render(found))
    return 0 if found.comparison.is_equal else 1


def _find_source(engine: Engine, options: Namespace) -> Source:
    """Return what to build: as the options say it, and for what they do not say as this home noted it."""
    image = resolve_image(engine, options.image)
    noted = find_origin(engine, image.digest)
    given = list_words(options)
    folder = options.folder or (noted.folder if noted is not None else "")
    if not folder:
        raise CarboyError(
            f"nothing here says what {options.image} was built from",
            hint=f"name the folder: carboy verify {options.image} --from FOLDER (and -f for its Dockerfile)",
        )
    folder = os.path.abspath(folder)
    if noted is not None and noted.folder == folder and not given and not options.file:
        return _follow(engine, image, noted, options)
    choice = read_front(folder, file=options.file)
    if choice.front == "python":
        options.no_cache = False
        check_python(options, choice.reason)
        return _of_python(engine, image, folder)
    file = os.path.abspath(options.file or f"{folder}/{choice.file}")
    return _of_dockerfile(engine, image, Source(folder=folder, file=file, words=given, cwd=os.getcwd()))


def _follow(engine: Engine, image: Descriptor, noted: Origin, options: Namespace) -> Source:
    if noted.unsaid:
        raise CarboyError(
            f"{options.image} was built with options that hold passwords, which are noted nowhere",
            details="\n".join(noted.unsaid),
            hint=f"give the build's options again: carboy verify {options.image} --from {noted.folder} ...",
        )
    if not noted.file:
        return _of_python(engine, image, noted.folder)
    source = Source(folder=noted.folder, file=noted.file, words=noted.words, cwd=noted.cwd)
    return _of_dockerfile(engine, image, source)


def _of_python(engine: Engine, image: Descriptor, folder: str) -> Source:
    return Source(folder=folder, recorded=read_recorded(engine, image))


def _of_dockerfile(engine: Engine, image: Descriptor, source: Source) -> Source:
    from carboy.engine.verification.bases import list_bases

    parser = Parser("verify", "")
    add_options(parser)
    options = parser.parse_args([*source.words, source.folder])
    before = os.getcwd()
    os.chdir(source.cwd)
    try:
        request = read_request(options, file=source.file)
    finally:
        os.chdir(before)
    return replace(source, bases=list_bases(engine, request), recorded=read_recorded(engine, image))


def _describe(found: Verification) -> dict[str, Any]:
    comparison = found.comparison
    return {
        "image": found.name,
        "equal": comparison.is_equal,
        "level": comparison.level,
        "digest": str(comparison.left),
        "rebuilt": str(comparison.right),
        "folder": found.source.folder,
        "dockerfile": found.source.file,
        "options": list(found.source.words),
        "conditions": [asdict(condition) for condition in found.conditions],
        **list_differences(comparison),
        "notes": list(found.notes),
    }


def _render(found: Verification) -> str:
    comparison = found.comparison
    rows = [
        (one.name, one.here, one.there if one.varied else "not varied", one.note)
        for one in found.conditions
    ]  # fmt: skip
    parts = [
        f"image    {comparison.left}",
        f"rebuilt  {comparison.right}",
        f"from     {printable(found.source.file or found.source.folder)}",
        "",
        render_table(("CONDITION", "HERE", "REBUILD", ""), rows),
        "",
        f"{'equal' if comparison.is_equal else 'DIFFERENT'}: {MEANINGS[comparison.level]}",
        *render_differences(comparison),
        *(printable(f"note: {note}") for note in found.notes),
    ]
    return "\n".join(parts)
