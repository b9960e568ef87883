"""``carboy build`` and ``carboy plan``."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from carboy.base.credentials import redact
from carboy.build.sources import read_front
from carboy.cli.commands.build_options import ADDRESS, add_options, check_python, list_words, read_request
from carboy.cli.commands.files.outputs import add_output_options, export, has_outputs, read_outputs
from carboy.cli.options import Parser
from carboy.cli.render import printable, render_table
from carboy.cli.report import print_result, print_warnings
from carboy.engine.context import Engine

if TYPE_CHECKING:
    from argparse import Namespace

    from carboy.cli.commands.files.outputs import BuildOutputs
    from carboy.dockerfile.rules import CheckWarning
    from carboy.engine.builds.attestations import FactsRecorder
    from carboy.engine.builds.offline import OfflineSource
    from carboy.engine.builds.recorder import BuildRecorder
    from carboy.engine.dockerfile import CheckReport
    from carboy.engine.dockerfile_request import DockerfileRequest
    from carboy.oci.descriptor import Descriptor


def build(arguments: list[str]) -> int:
    """Build an image from a folder, by its Dockerfile or as a folder of Python, and print its digest."""
    parser = Parser(
        "build [OPTIONS] CONTEXT", "Build an image from a folder: by its Dockerfile, or as a folder of Python."
    )
    add_options(parser)
    parser.add_argument("-t", "--tag", metavar="NAME[:TAG]", action="append", default=[], help="a name of the image")
    parser.add_argument("-q", "--quiet", action="store_true", help="print the digest only")
    parser.add_argument("--pull", action="store_true", help="ask the archive for a newer base")
    parser.add_argument("--json", action="store_true", help="print the result as a JSON object")
    parser.add_argument("--check", action="store_true", help="show what the build checks find, and build nothing")
    parser.add_argument("--locked", action="store_true", help="with the packages of carboy.lock, or not at all")
    parser.add_argument("--offline", action="store_true", help="ask nobody: of what is here, or of --bundle")
    parser.add_argument("--bundle", metavar="FILE", default="", help="with --offline: what `carboy fetch` has written")
    add_output_options(parser)
    parser.add_argument("--progress", metavar="auto|plain|tty|quiet", default="auto", help="how the steps are shown")
    options = parser.parse_args(arguments)
    _complete(parser, options)
    if options.progress not in {"auto", "plain", "tty", "quiet"}:
        parser.error(f"--progress {options.progress}: auto, plain, tty and quiet are there")
    if options.bundle and not options.offline:
        parser.error("--bundle is for a build without a network: add --offline")
    if options.offline and options.pull:
        parser.error("--pull asks the archive, and --offline asks nobody")
    recorder = _make_recorder(arguments, options)
    file, reason = _choose(options)
    if not file:
        check_python(options, reason)
        return _build_python(options, read_outputs(options))
    if options.offline:
        from carboy.engine.builds.offline import refuse_dockerfile

        raise refuse_dockerfile(file)
    if options.locked:
        parser.error("--locked is for a folder of Python; a Dockerfile names its versions itself")
    if options.check:
        return _check_dockerfile(read_request(options, file=file))
    outputs = read_outputs(options)
    request = read_request(options, file=file, names=outputs.store_names)
    return _build_dockerfile(options, request, recorder, outputs)


def _make_recorder(arguments: list[str], options: Namespace) -> BuildRecorder | None:
    """Return what notes this build for the next time, None where there is more to do than to show how it went."""
    if options.json or options.check or options.bundle or has_outputs(options):
        return None
    from carboy.engine.builds.recorder import BuildRecorder

    try:
        return BuildRecorder(
            arguments,
            folder=options.folder,
            file=options.file or "",
            variables=[item for item in options.build_arg if "=" not in item],
            environ=os.environ,
            mode="quiet" if options.quiet else options.progress,
        )
    except OSError:
        return None  # the build says what cannot be read


def plan(arguments: list[str]) -> int:
    """Show the steps that a build would take, with the reason for each."""
    parser = Parser("plan [OPTIONS] CONTEXT", "Show the steps that a build takes, and why; runs nothing.")
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON array")
    options = parser.parse_args(arguments)
    _complete(parser, options)
    file, reason = _choose(options)
    if file:
        return _plan_dockerfile(options, read_request(options, file=file))
    check_python(options, reason)
    from carboy.engine.build import plan_folder
    from carboy.engine.platforms import read_platform, split_platforms

    # The steps are the same for each.
    steps = plan_folder(options.folder, platform=read_platform(split_platforms(options.platform)[0])).describe()
    if options.json:
        found = [{"step": i + 1, "what": s.what, "reason": s.reason, "key": s.key} for i, s in enumerate(steps)]
        print(json.dumps(found, indent=2))
        return 0
    rows = [(str(i + 1), printable(s.what), printable(s.reason)) for i, s in enumerate(steps)]
    print(render_table(("STEP", "WHAT", "WHY"), rows))
    return 0


def _complete(parser: Parser, options: Namespace) -> None:
    """Fill in the context where only the Dockerfile is named."""
    if options.folder is None:
        if options.file is None:
            parser.error("the following arguments are required: CONTEXT")
        options.folder = "."


def _choose(options: Namespace) -> tuple[str, str]:
    """Return the Dockerfile ("" for a folder of Python), and why it is that."""
    if options.folder == "-" or options.file == "-":
        return options.file or "-", "it is on standard input"
    if "://" in options.folder or "@" in options.folder:
        from carboy.engine.contexts import is_address

        if is_address(options.folder):
            return options.file or ADDRESS, "it is elsewhere"
    choice = read_front(options.folder, file=options.file)
    if choice.front == "python":
        return "", choice.reason
    return (options.file or f"{options.folder}/{choice.file}"), choice.reason


def _build_python(options: Namespace, outputs: BuildOutputs) -> int:
    from carboy.cli.progress import open_progress
    from carboy.engine.build import build_for_platforms
    from carboy.engine.platforms import read_platform, split_platforms

    platforms = [read_platform(text) for text in split_platforms(options.platform)]
    engine = Engine.open(os.environ)
    names = outputs.store_names
    facts = _make_facts(outputs)
    with outputs.open_lease(engine):
        with open_progress(sys.stderr, mode="quiet" if options.quiet else options.progress) as progress:
            result = build_for_platforms(
                engine,
                options.folder,
                platforms,
                name=names[0] if names else None,
                progress=progress,
                refresh=options.pull,
                locked=options.locked,
                source=_read_offline(options),
            )
        for note in () if options.quiet else result.notes:
            print(f"note: {note}", file=sys.stderr)
        if names[1:]:
            from carboy.engine.images import tag_image

            for other in names[1:]:
                tag_image(engine, names[0], other)
        _note_origin(engine, result.descriptor, options, file="")
        steps = [{"title": s.title, "cached": s.cached, "seconds": round(s.seconds, 3)} for s in result.steps]
        if facts is not None:
            facts.note_folder(step.title for step in result.steps)
        _finish(engine, options, outputs, result.descriptor, size_bytes=result.size_bytes, steps=steps, recorder=facts)
    return 0


def _read_offline(options: Namespace) -> OfflineSource | None:
    """Return what a build without a network is made of, None for one that has it."""
    if not options.offline:
        return None
    from carboy.engine.builds.offline import OfflineSource

    return OfflineSource(bundle=options.bundle)


def _note_origin(engine: Engine, image: Descriptor, options: Namespace, *, file: str) -> None:
    """Note what an image was built from, for ``carboy verify``; of what is elsewhere, or was piped, nothing is noted."""
    from carboy.engine.verification.origins import Origin, note_origin

    if options.file == "-" or not os.path.isdir(options.folder):
        return
    words = [word for word in list_words(options) if not _is_proxy(word)]  # which are part of no image
    kept = tuple(word for word in words if redact(word) == word)
    note_origin(
        engine,
        image.digest,
        Origin(
            folder=os.path.abspath(options.folder),
            file=os.path.abspath(file) if file else "",
            words=kept,
            cwd=os.getcwd(),
            unsaid=tuple(word.partition("=")[2].partition("=")[0] for word in words if word not in kept),
        ),
    )


def _is_proxy(word: str) -> bool:
    return word.lower().startswith("--build-arg=") and word.lower().partition("=")[2].partition("=")[0].endswith(
        "_proxy"
    )


def _make_facts(outputs: BuildOutputs) -> FactsRecorder | None:
    """Return what notes how the build goes, where a provenance is to tell it."""
    if not outputs.attest:
        return None
    from carboy.engine.builds.attestations import FactsRecorder

    return FactsRecorder()


def _finish(
    engine: Engine,
    options: Namespace,
    outputs: BuildOutputs,
    descriptor: Descriptor,
    *,
    size_bytes: int,
    steps: list[dict[str, object]],
    recorder: FactsRecorder | None,
) -> None:
    """Send the image where it goes, and say what it is."""
    exported = export(engine, descriptor, outputs, recorder.facts if recorder is not None else None)
    digest = str((exported.top or descriptor).digest)
    name = options.tag[0] if options.tag else None
    if options.json:
        print(json.dumps({"digest": digest, "name": name, "size_bytes": size_bytes, "steps": steps}, indent=2))
    elif not outputs.uses_stdout:
        print_result(digest, tags=outputs.shown_names, size_bytes=size_bytes, quiet=options.quiet)
    elif not options.quiet:
        print(digest, file=sys.stderr)


def _build_dockerfile(
    options: Namespace, request: DockerfileRequest, recorder: BuildRecorder | None, outputs: BuildOutputs
) -> int:
    from carboy.cli.steps import open_steps
    from carboy.engine.dockerfile import build_dockerfile

    engine = Engine.open(os.environ)
    warnings: list[CheckWarning] = []
    facts = _make_facts(outputs)
    with outputs.open_lease(engine):
        with open_steps(sys.stderr, mode="quiet" if options.quiet else options.progress) as progress:
            result = build_dockerfile(
                engine, request, progress=progress, warn=warnings.append, recorder=facts or recorder
            )
        _note_origin(engine, result.descriptor, options, file=request.file)
        if not options.quiet:
            print_warnings([redact(str(warning)) for warning in warnings])
        steps: list[dict[str, object]] = [
            {"title": s.title, "cached": s.cached, "seconds": round(s.seconds, 3)} for s in result.steps
        ]
        _finish(engine, options, outputs, result.descriptor, size_bytes=result.size_bytes, steps=steps, recorder=facts)
    return 0


def _check_dockerfile(request: DockerfileRequest) -> int:
    """Print what the checks find and return 1 when they find anything, as ``docker build --check`` does."""
    from carboy.engine.dockerfile import check_dockerfile

    report = check_dockerfile(Engine.open(os.environ), request)
    count = len(report.warnings)
    if not count:
        print("Check complete, no warnings found.")
        return 0
    print(f"Check complete, {count} warning{'s have' if count > 1 else ' has'} been found!")
    for warning in report.warnings:
        print(f"\n{_render_warning(report, warning)}")
    return 1


def _render_warning(report: CheckReport, warning: CheckWarning) -> str:
    """Return a warning as BuildKit prints it: the rule, its page, the message, and the lines."""
    lines = report.dockerfile.source.lines
    first, last = max(warning.span.first - 2, 1), min(warning.span.last + 2, len(lines))
    shown = []
    for number in range(first, last + 1):
        mark = ">>>" if warning.span.first <= number <= warning.span.last else "   "
        shown.append(f"{number:>4} | {mark} {redact(lines[number - 1])}".rstrip())
    head = f"WARNING: {warning.rule}" + (f" - {warning.url}" if warning.url else "")
    bar = "-" * 20
    return printable(
        "\n".join([head, redact(warning.message), f"{warning.file}:{warning.span.first}", bar, *shown, bar])
    )


def _plan_dockerfile(options: Namespace, request: DockerfileRequest) -> int:
    from carboy.engine.dockerfile import describe_dockerfile

    steps = describe_dockerfile(Engine.open(os.environ), request)
    if options.json:
        keys = ("title", "where", "cached", "reason")
        found = [
            {"step": i + 1, **{key: getattr(s, key) for key in keys}, **({"network": s.network} if s.network else {})}
            for i, s in enumerate(steps)
        ]
        print(json.dumps(found, indent=2))
        return 0
    words = {True: "cached", False: "to do", None: "unknown"}
    rows = [(str(i + 1), printable(s.title), words[s.cached], printable(s.reason)) for i, s in enumerate(steps)]
    print(render_table(("STEP", "WHAT", "STATE", "WHY"), rows))
    for reason in dict.fromkeys(s.network_reason for s in steps if s.network_reason):
        print(printable(f"RUN is on the host's network: {reason}"), file=sys.stderr)
    return 0
