"""``carboy run FOLDER NOTEBOOK.ipynb``, ``carboy notebook`` and ``carboy rstudio``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from carboy.cli.options import Parser
from carboy.cli.progress import open_progress
from carboy.engine.context import Engine
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from carboy.build.plan import Plan
    from carboy.cli.commands.container_options import Options
    from carboy.engine.builds.offline import OfflineSource
    from carboy.engine.notebooks.workbench import Workbench

PORT = 8888
PORTS_TRIED = 50
TOKEN_BYTES = 24


def run_notebook(options: Options) -> int:
    """Execute a notebook of a folder and return the exit status; recorded where that is asked for."""
    from carboy.build.workbench import EXECUTE
    from carboy.cli.commands.container_options import read_offline
    from carboy.engine.notebooks.workbench import EXECUTED, find_kernel, find_notebook, plan_bench, plan_notebook

    if "detach" in options.flags:
        raise CarboyError("a notebook is executed while you wait", hint="leave -d out", code=2)
    notebook = find_notebook(options.target, options.arguments[0])
    if len(options.arguments) > 1:
        hint = "give it variables, before the folder: -e NAME=VALUE"
        if options.arguments[1].startswith("-"):
            hint = f"options stand before the folder: carboy run {options.arguments[1]} ... {options.target} {notebook}"
        raise CarboyError("a notebook takes no arguments", hint=hint, code=2)
    source = read_offline(options)
    plan = plan_bench(options.target, tools=EXECUTE, reason="it executes the notebook")
    kernel = find_kernel(plan, notebook)
    engine = Engine.open(os.environ)
    bench = _build(engine, plan, quiet="quiet" in options.flags, source=source)
    request = plan_notebook(options.request(network=None), bench, notebook, kernel=kernel)
    if options.is_recorded:
        from carboy.cli.commands.runs.record import record_run

        status = record_run(engine, options, request, manifest=bench.manifest, is_folder=True)
    else:
        from carboy.engine.containers.run import run_image

        status = run_image(engine, options.target, request.replace(auto_remove=True), manifest=bench.manifest)
    target = notebook.removesuffix(".ipynb") + EXECUTED
    if "quiet" not in options.flags and os.path.exists(f"{options.target}/{target}"):
        print(f"wrote {os.path.join(options.target, target)}", file=sys.stderr)
    return status


def notebook(words: list[str]) -> int:
    """Serve JupyterLab in the environment of a folder, until Ctrl-C."""
    parser = Parser(
        "notebook [OPTIONS] FOLDER",
        "JupyterLab on the files of a folder, in its environment. It answers on 127.0.0.1 alone, to those who have the token in "
        "the address that is printed. Ctrl-C ends it; what was written is in the folder.",
    )
    parser.add_argument("--port", type=int, default=None, metavar="PORT",
                        help=f"the port of 127.0.0.1 (default: {PORT}, or the next one that is free)")  # fmt: skip
    parser.add_argument("--network", default="", metavar="NAME", help="private, none or host")
    parser.add_argument("--offline", action="store_true", help="ask nobody: of what is here, or of --bundle")
    parser.add_argument("--bundle", metavar="FILE", default="",
                        help="with --offline: what `carboy fetch --notebook` has written")  # fmt: skip
    parser.add_argument("-q", "--quiet", action="store_true", help="do not show the build")
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER")
    options = parser.parse_args(words)
    if options.bundle and not options.offline:
        parser.error("--bundle is for a build without a network: add --offline")
    if options.port is not None and not 0 < options.port < 65_536:
        raise CarboyError(f"{options.port} is no port", hint="write a number from 1 to 65535", code=2)
    import secrets

    from carboy.build.workbench import LAB
    from carboy.engine.containers.run import run_image
    from carboy.engine.notebooks.workbench import plan_bench, plan_lab

    plan = plan_bench(options.folder, tools=LAB, reason="JupyterLab is served from there")
    engine = Engine.open(os.environ)
    source = None
    if options.offline:
        from carboy.engine.builds.offline import OfflineSource

        source = OfflineSource(bundle=options.bundle)
    bench = _build(engine, plan, quiet=options.quiet, source=source)
    port = find_port(options.port)
    request = plan_lab(bench, port=port, token=secrets.token_hex(TOKEN_BYTES), network=options.network or bench.network)
    try:
        status = run_image(engine, options.folder, request, manifest=bench.manifest)
    except KeyboardInterrupt:
        return 0
    return 0 if status in {0, 130} else status


def find_port(asked: int | None) -> int:
    """Return the port that was asked for, or the first one from :data:`PORT` on that is free. Raises ``CarboyError``."""
    import socket

    for port in range(PORT, PORT + PORTS_TRIED) if asked is None else (asked,):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    wanted = f"port {asked}" if asked is not None else f"all ports from {PORT} to {PORT + PORTS_TRIED - 1}"
    raise CarboyError(f"{wanted} of 127.0.0.1 cannot be had", hint="choose another one: --port")


def rstudio(words: list[str]) -> int:
    """Say why there is no RStudio Server."""
    parser = Parser("rstudio FOLDER", "RStudio Server: in no distribution that carboy makes bases of.")
    parser.add_argument("folder", nargs="?", default=".", metavar="FOLDER")
    parser.parse_args(words)
    raise CarboyError(
        "there is no RStudio Server to be had: Debian, Ubuntu and Alpine do not have it in their archives",
        hint="install its maker's package by a Dockerfile, and publish its port: carboy run -p 8787:8787 FOLDER",
    )


def _build(engine: Engine, plan: Plan, *, quiet: bool, source: OfflineSource | None = None) -> Workbench:
    from carboy.engine.notebooks.workbench import build_workbench

    with open_progress(sys.stderr, mode="quiet" if quiet else "auto") as progress:
        bench = build_workbench(engine, plan, progress=progress, source=source)
    for note in () if quiet else bench.notes:
        print(f"note: {note}", file=sys.stderr)
    return bench
