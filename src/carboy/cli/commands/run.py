"""``carboy run`` and ``carboy create``: the words after FOLDER or IMAGE are the program's, as Docker's users expect."""

from __future__ import annotations

import os
import sys

from carboy.cli.commands.container_options import HELP, parse_options, read_offline
from carboy.engine.context import Engine
from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from carboy.cli.commands.container_options import Options
    from carboy.engine.containers.request import RunRequest

    Result = TypeVar("Result")

_RUN = """Usage: carboy run [OPTIONS] FOLDER|IMAGE [--] [COMMAND] [ARGUMENTS]

Run a program in a container, and end with its exit status.
A FOLDER is built first, when something in it has changed. `carboy run FOLDER NAME.ipynb` executes a notebook of it.
"""
_CREATE = """Usage: carboy create [OPTIONS] FOLDER|IMAGE [--] [COMMAND] [ARGUMENTS]

Make a container without starting it, and print its id. `carboy start` starts it.
"""


def run(words: list[str]) -> int:
    """Run a folder or an image and return the program's exit status."""
    if words[:1] in (["--help"], ["-h"]):
        print(_RUN + HELP)
        return 0
    options = parse_options("run", words)
    detach = "detach" in options.flags
    if not detach and {"terminal", "interactive"} <= options.flags and not os.isatty(0):
        raise CarboyError("standard input is not a terminal", hint="leave -t out, or run it in a terminal", code=125)
    if options.is_recorded:
        from carboy.cli.commands.runs.record import check_options

        check_options(options)
    if options.arguments and options.arguments[0].endswith(".ipynb") and os.path.isdir(options.target):
        from carboy.cli.commands.runs.notebook import run_notebook

        return run_notebook(options)
    engine, manifest, network = _prepare(options)
    request = options.request(network=network)
    _warn(request)
    if options.is_recorded:
        from carboy.cli.commands.runs.record import record_run

        return _with_image(
            engine,
            options,
            lambda: record_run(
                engine,
                options,
                request,
                manifest=manifest or _choose(engine, options),
                is_folder=manifest is not None,
            ),
        )
    if not detach and request.auto_remove and "cidfile" not in options.texts and request.restart == "no":
        from carboy.engine.containers.run import run_image

        return _with_image(
            engine,
            options,
            lambda: run_image(engine, options.target, request, manifest=manifest or _choose(engine, options)),
        )
    from carboy.engine.containers.create import create_container, start_container
    from carboy.runtime.stdio import Stdio

    container_id = _with_image(
        engine,
        options,
        lambda: create_container(engine, options.target, request, manifest=manifest or _choose(engine, options)),
    )
    _write_id(options, container_id)
    stdio = Stdio(stdin=0 if request.interactive else None, stdout=1, stderr=2, terminal=request.terminal)
    try:
        status = start_container(engine, container_id, stdio=None if detach else stdio)
    except BaseException:
        _forget_failed(engine, container_id, request.auto_remove)
        raise
    if detach:
        print(container_id)
    return status or 0


def create(words: list[str]) -> int:
    """Make a container and print its id."""
    if words[:1] in (["--help"], ["-h"]):
        print(_CREATE + HELP)
        return 0
    options = parse_options("create", words)
    if options.is_recorded:
        raise CarboyError("only `carboy run` records", hint="leave --record, --seed and --output out", code=2)
    engine, manifest, network = _prepare(options)
    from carboy.engine.containers.create import create_container

    request = options.request(network=network)
    _warn(request)
    container_id = _with_image(
        engine,
        options,
        lambda: create_container(engine, options.target, request, manifest=manifest or _choose(engine, options)),
    )
    _write_id(options, container_id)
    print(container_id)
    return 0


def _choose(engine: Engine, options: Options) -> str | None:
    """Return the manifest that --platform asks for, None without it."""
    if "platform" not in options.texts:
        return None
    from carboy.engine.images import find_manifest

    return find_manifest(engine, options.target, platform=options.texts["platform"])


def _with_image(engine: Engine, options: Options, call: Callable[[], Result]) -> Result:
    """Do it; get the image first when it is not here, or when it is wanted as new as there is, as Docker does."""
    when = options.texts.get("pull", "missing")
    if when not in {"always", "missing", "never"}:
        raise CarboyError(f"--pull {when!r} is none of always, missing and never", hint="missing is the usual", code=2)
    if when == "always" and not looks_like_folder(options.target):
        _provide(engine, options)
        return call()
    try:
        return call()
    except CarboyError as error:
        from carboy.engine.images import NoImageError

        if not isinstance(error, NoImageError) or when == "never":
            raise
        _provide(engine, options, missing=error)
    return call()


def _provide(engine: Engine, options: Options, *, missing: CarboyError | None = None) -> None:
    """Make or fetch the image. Raises ``CarboyError`` (125), with what ``missing`` says where it was looked for before."""
    from carboy.cli.commands.registry.progress import open_transfers
    from carboy.cli.steps import open_steps
    from carboy.engine.provide import provide_image

    quiet = "quiet" in options.flags
    try:
        provide_image(
            engine,
            options.target,
            platform=options.texts.get("platform", ""),
            refresh=missing is None,
            say=lambda text: print(text, file=sys.stderr),
            open_steps=lambda: open_steps(sys.stderr, mode="quiet" if quiet else "auto"),
            open_transfers=lambda: open_transfers(sys.stderr, quiet=quiet),
        )
    except CarboyError as error:
        if missing is None:
            error.code = 125
            raise
        said = "\n".join(text for text in (error.brief, error.details) if text)
        raise CarboyError(missing.brief, details=said, hint=missing.hint, code=125) from error


def _warn(request: RunRequest) -> None:
    if request.security:
        from carboy.engine.containers.options.security import find_warnings

        for text in find_warnings(request.security):
            print(f"warning: {text}", file=sys.stderr)


def _prepare(options: Options) -> tuple[Engine, str | None, str | None]:
    """Open the engine, build the folder when the target is one, and return its manifest and the network that it asks for."""
    is_folder = looks_like_folder(options.target)
    if is_folder and not os.path.isdir(options.target):
        raise CarboyError(
            f"there is no folder {options.target}", hint="name a folder, or an image that `carboy images` lists"
        )
    source = read_offline(options) if "offline" in options.flags or "bundle" in options.texts else None
    if source is not None and not is_folder:
        raise CarboyError("--offline is for a folder, which is built", hint="an image is here: --pull never", code=2)
    engine = Engine.open(os.environ)
    if not is_folder:
        return engine, None, None
    from carboy.cli.progress import open_progress
    from carboy.engine.build import build_any

    with open_progress(sys.stderr, mode="quiet" if "quiet" in options.flags else "auto") as progress:
        result = build_any(engine, options.target, name=None, progress=progress, source=source)
    for note in () if "quiet" in options.flags else result.notes:
        print(f"note: {note}", file=sys.stderr)
    return engine, str(result.descriptor.digest), result.network


def looks_like_folder(target: str) -> bool:
    """Return whether ``target`` means a folder: it is one, or is written as a path."""
    return target in {".", ".."} or target.startswith(("./", "../", "/", "~")) or os.path.isdir(target)


def _write_id(options: Options, container_id: str) -> None:
    if "cidfile" not in options.texts:
        return
    try:
        with open(options.texts["cidfile"], "x", encoding="ascii") as file:
            file.write(container_id)
    except OSError as error:
        raise CarboyError(
            "the file for the id cannot be written", details=str(error), hint="check --cidfile"
        ) from error


def _forget_failed(engine: Engine, container_id: str, auto_remove: bool) -> None:
    """A container of ``--rm`` that never started is no use to anybody."""
    if auto_remove:
        from carboy.engine.containers.manage import delete_container, view_container

        view = view_container(engine.home, container_id)
        if view is not None:
            delete_container(engine.home, view, force=True)
