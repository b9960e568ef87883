"""The process of a rebuild for ``carboy verify``: builds what it is told on a pipe, as ``carboy build`` does."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from carboy.cli.commands.build_options import add_options, read_request
from carboy.cli.options import Parser
from carboy.cli.progress import open_progress
from carboy.engine.verification.rebuild import RebuildRequest, answer_request

if TYPE_CHECKING:
    from carboy.engine.context import Engine
    from carboy.oci.descriptor import Descriptor

_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from carboy.cli.commands.builds.rebuilding import main; sys.exit(main())"
)


def find_program() -> list[str]:
    """Return the argument vector of this process."""
    return [sys.executable, "-c", _PROGRAM, str(Path(__file__).resolve().parents[4])]


def main() -> int:
    """Carry out the request and answer it; returns the exit status."""
    try:
        return answer_request(_build)
    except KeyboardInterrupt:
        return 130


def _build(engine: Engine, request: RebuildRequest) -> Descriptor:
    parser = Parser("build", "")
    add_options(parser)
    options = parser.parse_args([*request.words, request.folder])
    if not request.file:
        from carboy.engine.build import rebuild_folder
        from carboy.engine.platforms import read_platform

        with open_progress(sys.stderr) as progress:
            return rebuild_folder(
                engine,
                request.folder,
                recorded=request.recorded,
                progress=progress,
                platform=read_platform(options.platform),
            ).descriptor
    from carboy.cli.steps import open_steps
    from carboy.engine.dockerfile import build_dockerfile

    wanted = replace(read_request(options, file=request.file), snapshot=request.recorded.find_snapshot())
    with open_steps(sys.stderr, mode="auto") as steps:
        return build_dockerfile(engine, wanted, progress=steps).descriptor
