"""How an instruction takes effect on its stage. Source: dockerfile2llb/convert.go, dispatch and what it calls."""

from __future__ import annotations

from typing import cast

import msgspec

from carboy.base.credentials import redact
from carboy.build.dockerfile.given import NETWORK_HOST, SECURITY_INSECURE
from carboy.build.dockerfile.mounts import FindOrigin, plan_mounts
from carboy.build.dockerfile.paths import join_path
from carboy.build.dockerfile.settings import (
    add_volumes,
    command_words,
    expose,
    set_env,
    set_healthcheck,
    set_labels,
    set_stop_signal,
)
from carboy.build.dockerfile.stage import StageState
from carboy.build.dockerfile.transfer import plan_transfer
from carboy.build.graph import ops
from carboy.dockerfile.arguments import parse_heredoc
from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.gotext import plain_list, quote_list
from carboy.dockerfile.instructions.model import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StageInstruction,
    StopSignal,
    User,
    Volume,
    Workdir,
)
from carboy.dockerfile.scope import list_proxies


def dispatch(stage: StageState, instruction: StageInstruction, find: FindOrigin, *, trigger: bool = False) -> None:
    """Let an instruction take effect; ``find`` knows what a ``from`` names. Raises ``LanguageError``."""
    if isinstance(instruction, Arg):
        _arg(stage, instruction)
        return
    expanded = stage.scope.expand(instruction)
    if isinstance(expanded, Run):
        _run(stage, expanded, find, trigger=trigger)
    elif isinstance(expanded, Copy | Add):
        named = expanded.source if isinstance(expanded, Copy) else ""
        origin = find(named) if named else stage.given.context
        plan_transfer(stage, expanded, origin, trigger=trigger)
    elif isinstance(expanded, Workdir):
        _workdir(stage, expanded, trigger=trigger)
    elif isinstance(expanded, Cmd | Entrypoint | Shell):
        _command(stage, expanded)
    else:
        _settings(stage, expanded)


def _settings(stage: StageState, instruction: StageInstruction) -> None:
    """Let an instruction take effect that only changes the configuration."""
    config = stage.config
    text = ""
    if isinstance(instruction, Env):
        stage.scope.set(instruction)
        config = set_env(config, instruction.pairs)
        text = " ".join(["ENV", *(f"{pair.key}={pair.value}" for pair in instruction.pairs)])
    elif isinstance(instruction, Label):
        config = set_labels(config, {pair.key: pair.value for pair in instruction.pairs})
        text = " ".join(["LABEL", *(f"{pair.key}={pair.value}" for pair in instruction.pairs)])
    elif isinstance(instruction, Expose):
        config, text = expose(config, instruction)
    elif isinstance(instruction, Volume):
        config, text = add_volumes(config, instruction)
    elif isinstance(instruction, StopSignal):
        config, text = set_stop_signal(config, instruction)
    elif isinstance(instruction, Healthcheck):
        config, text = set_healthcheck(config, instruction)
    elif isinstance(instruction, User):
        config, text = msgspec.structs.replace(config, User=instruction.user), f"USER {instruction.user}"
    elif isinstance(instruction, Maintainer):
        stage.author, text = instruction.author, f"MAINTAINER {instruction.author}"
    elif isinstance(instruction, Onbuild):
        config = msgspec.structs.replace(config, OnBuild=[*(config.OnBuild or ()), instruction.trigger])
    stage.config = config
    if text:
        stage.note(text)


def _arg(stage: StageState, instruction: Arg) -> None:
    made = stage.scope.declare(instruction)
    stage.note(" ".join(["ARG", *(name if value is None else f"{name}={redact(value)}" for name, value in made)]))


def _command(stage: StageState, instruction: Cmd | Entrypoint | Shell) -> None:
    config = stage.config
    if isinstance(instruction, Shell):
        stage.config = msgspec.structs.replace(config, Shell=list(instruction.words))
        stage.note(f"SHELL {plain_list(instruction.words)}")
        return
    words = command_words(config, instruction)
    value = list(words) or None  # an empty one clears what the base says (trap 24)
    if isinstance(instruction, Cmd):
        stage.config = msgspec.structs.replace(config, Cmd=value, ArgsEscaped=True)
        stage.cmd_set = True
        stage.note(f"CMD {quote_list(words)}")
    else:
        cmd = config.Cmd if stage.cmd_set else None
        stage.config = msgspec.structs.replace(config, Entrypoint=value, Cmd=cmd)
        stage.note(f"ENTRYPOINT {quote_list(words)}")


def _workdir(stage: StageState, instruction: Workdir, *, trigger: bool) -> None:
    path = join_path(stage.folder, instruction.path)
    stage.config = msgspec.structs.replace(stage.config, WorkingDir=path)
    if path == "/":
        stage.note("WORKDIR /")
        return
    operation = ops.MakeFolder(
        parent=stage.state,
        path=path,
        user=stage.config.User,
        no_cache=stage.no_cache,
        title=stage.next_title(stage.describe(instruction.code), trigger=trigger),
        location=stage.location(instruction.span),
    )
    stage.change(operation, f"WORKDIR {path}")


def _run(stage: StageState, instruction: Run, find: FindOrigin, *, trigger: bool) -> None:
    _check_rights(stage, instruction)
    words, files, summary = _run_words(instruction)
    args = command_words(stage.config, instruction, words=words)
    mounts = plan_mounts(stage, instruction, find)
    masked = {mount.env: "****" for mount in mounts if isinstance(mount, ops.SecretMount) and mount.env is not None}
    text = instruction.code + (f" ({summary})" if summary else "")
    title = stage.next_title(stage.describe(text, masked=masked, run=True), trigger=trigger)
    scope = stage.scope
    operation = ops.Run(
        parent=stage.state,
        args=args,
        env=stage.run_env(),
        unkeyed_env=tuple(f"{k}={v}" for k, v in list_proxies(scope.build_args) if k not in scope.env),
        cwd=stage.folder,
        user=stage.config.User,
        mounts=mounts,
        files=files,
        network=cast("ops.Network", instruction.network),
        security=cast("ops.Security", instruction.security),
        no_cache=stage.no_cache,
        title=title,
        location=stage.location(instruction.span),
    )
    # Unlike BuildKit's: a proxy that is declared, or an address, keeps its password for itself.
    known = [f"{name}={redact(scope.env.get(name, value or ''))}" for name, value in scope.args.items()]
    before = [f"|{len(known)}", *known] if known else []
    stage.change(operation, f"RUN {' '.join([*before, *args])} # buildkit")


def _check_rights(stage: StageState, instruction: Run) -> None:
    for flag, right in (
        (instruction.network == "host", NETWORK_HOST),
        (instruction.security == "insecure", SECURITY_INSECURE),
    ):
        if flag and right not in stage.given.allow:
            word = "--network=host" if right == NETWORK_HOST else "--security=insecure"
            raise LanguageError(f"{right} is not allowed", word=word, hint=f"allow it with --allow {right}")


def _run_words(instruction: Run) -> tuple[tuple[str, ...], tuple[ops.InlineFile, ...], str]:
    """Return (what the shell is given, the files it finds at /dev/pipes, a summary of a document for people). Trap 53."""
    if not instruction.heredocs:
        return instruction.words, (), ""
    for heredoc in instruction.heredocs:
        if not heredoc.content.isprintable() and any("\ud800" <= c <= "\udfff" or c == "\0" for c in heredoc.content):
            raise LanguageError(
                "the document is not UTF-8 text", word=f"<<{heredoc.name}", hint="COPY a file in its place"
            )
    first = instruction.heredocs[0]
    if parse_heredoc(instruction.words[0]) is None:
        # The shell sees the documents as they were written.
        text = instruction.words[0] + "".join(f"\n{item.content}{item.name}" for item in instruction.heredocs)
        return (text,), (), ""
    lines = first.text.strip().splitlines() or [""]
    summary = lines[0] + ("..." if len(lines) > 1 else "")
    if not first.text.startswith("#!"):
        return (first.text,), (), summary
    if "/" in first.name or first.name in {".", ".."}:
        raise LanguageError(f"a document cannot be called {first.name}", word=first.name, hint="leave the / out")
    file = ops.InlineFile(name=first.name, content=first.text.encode(), mode=0o755)
    return (f"/dev/pipes/{first.name}",), (file,), summary
