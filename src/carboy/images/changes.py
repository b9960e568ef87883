"""``--change``: single instructions of the Dockerfile language, applied to a configuration. Pure.

Source: docker-container-commit(1); moby, builder/dockerfile/dispatchers.go.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

import msgspec

from carboy.dockerfile.errors import DockerfileError, LanguageError
from carboy.dockerfile.instructions import model
from carboy.dockerfile.instructions.ports import parse_exposed
from carboy.dockerfile.parser import parse
from carboy.dockerfile.scope import Globals, StageScope
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.oci.config import RunConfig

NAMES = (
    "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "ONBUILD", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
)  # fmt: skip
_TIMES = {
    "Interval": "interval_ns", "Timeout": "timeout_ns", "StartPeriod": "start_period_ns", "StartInterval": "start_interval_ns",
    "Retries": "retries",
}  # fmt: skip


def apply_changes(config: RunConfig, changes: Sequence[str]) -> RunConfig:
    """Return the configuration after the instructions, each as "ENV NAME=VALUE"; variables are the configuration's own.

    Raises ``CarboyError`` (2) for what is no such instruction, or one that changes files.
    """
    has_command = False
    for text in changes:
        instruction = _parse(text)
        env = dict(item.partition("=")[::2] for item in config.Env or ())
        scope = StageScope(escape="\\", globals=Globals(values={}), build_args={}, env=env)
        try:
            expanded = scope.expand(instruction)
            fields = _find_fields(config, expanded, has_command=has_command)
        except LanguageError as wrong:
            raise CarboyError(f"--change: {wrong.message}", details=text, hint=wrong.hint, code=2) from wrong
        has_command = has_command or isinstance(expanded, model.Cmd)
        config = msgspec.structs.replace(config, **fields)
    return config


def _parse(text: str) -> model.StageInstruction:
    name = text.split(maxsplit=1)[0].upper() if text.strip() else ""
    if name not in NAMES:
        brief = f"{name} is no valid change" if name else "a change is empty"
        raise CarboyError(f"--change: {brief}", details=text, hint=f"there are {', '.join(NAMES)}", code=2)
    data = f"FROM scratch\n{text}\n".encode("utf-8", "surrogateescape")
    try:
        found = parse(data, file="--change").stages[0].instructions
    except DockerfileError as wrong:
        raise CarboyError(f"--change: {wrong.message}", details=text, hint=wrong.hint, code=2) from wrong
    if len(found) != 1:
        raise CarboyError("--change: more than one instruction", details=text, hint="give --change for each", code=2)
    return found[0]


def _find_fields(config: RunConfig, change: model.StageInstruction, *, has_command: bool) -> dict[str, Any]:
    """Return the fields that a change sets, with their values."""
    fields: dict[str, Any] = {}
    match change:
        case model.Cmd():
            fields["Cmd"] = _find_words(config, change)
        case model.Entrypoint():
            # A command of before is none for the new entry point, unless it was given beside.
            fields = {"Entrypoint": _find_words(config, change), **({} if has_command else {"Cmd": None})}
        case model.Env():
            env = dict(item.partition("=")[::2] for item in config.Env or ())
            env |= {pair.key: pair.value for pair in change.pairs}
            fields["Env"] = [f"{name}={value}" for name, value in env.items()]
        case model.Label():
            fields["Labels"] = {**(config.Labels or {}), **{pair.key: pair.value for pair in change.pairs}}
        case model.Expose():
            ports = [port for word in change.ports for port in parse_exposed(word).ports]
            fields["ExposedPorts"] = {**(config.ExposedPorts or {}), **{port: {} for port in ports}}
        case model.Volume():
            fields["Volumes"] = {**(config.Volumes or {}), **{path: {} for path in change.paths}}
        case model.User():
            fields["User"] = change.user
        case model.Workdir():
            path = posixpath.normpath(posixpath.join("/", config.WorkingDir, change.path))
            fields["WorkingDir"] = "/" + path.lstrip("/")
        case model.StopSignal():
            fields["StopSignal"] = change.signal
        case model.Healthcheck():
            values = {key: getattr(change, name) for key, name in _TIMES.items() if getattr(change, name)}
            fields["Healthcheck"] = {"Test": list(change.test), **values}
        case model.Onbuild():
            fields["OnBuild"] = [*(config.OnBuild or ()), change.trigger]
    return fields


def _find_words(config: RunConfig, command: model.CommandLine) -> list[str] | None:
    if command.shell and command.words:
        return [*(config.Shell or ("/bin/sh", "-c")), *command.words]
    return list(command.words) or None
