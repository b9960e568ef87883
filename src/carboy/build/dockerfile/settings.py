"""What instructions write into an image's configuration and its history. Source: dispatch* of dockerfile2llb/convert.go."""

from __future__ import annotations

from typing import Any

import msgspec

from carboy.dockerfile.arguments import Pair
from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.gotext import format_duration, plain_list
from carboy.dockerfile.instructions.model import CommandLine, Expose, Healthcheck, StopSignal, Volume
from carboy.dockerfile.instructions.ports import parse_exposed
from carboy.oci.config import RunConfig

DEFAULT_SHELL = ("/bin/sh", "-c")
# Source: moby/sys/signal, signal_linux.go; real-time signals are SIGRTMIN+1 and so on.
_NAMES = (
    "ABRT ALRM BUS CHLD CLD CONT FPE HUP ILL INT IO IOT KILL PIPE POLL PROF PWR QUIT RTMAX RTMIN SEGV STKFLT STOP SYS TERM"
    " TRAP TSTP TTIN TTOU URG USR1 USR2 VTALRM WINCH XCPU XFSZ"
)
_SIGNALS = (
    frozenset(_NAMES.split()) | {f"RTMIN+{number}" for number in range(1, 16)} | {f"RTMAX-{n}" for n in range(1, 15)}
)


def split_env(env: list[str] | None) -> dict[str, str]:
    """Return an image's environment by name."""
    found: dict[str, str] = {}
    for item in env or ():
        name, _, value = item.partition("=")
        found[name] = value
    return found


def set_env(config: RunConfig, pairs: tuple[Pair, ...]) -> RunConfig:
    """Return a configuration with these variables: a name that is there keeps its place."""
    env = list(config.Env or ())
    for pair in pairs:
        at = next((i for i, item in enumerate(env) if item.partition("=")[0] == pair.key), None)
        text = f"{pair.key}={pair.value}"
        if at is None:
            env.append(text)
        else:
            env[at] = text
    return msgspec.structs.replace(config, Env=env)


def set_labels(config: RunConfig, labels: dict[str, str]) -> RunConfig:
    """Return a configuration with these labels added."""
    return msgspec.structs.replace(config, Labels={**(config.Labels or {}), **labels})


def expose(config: RunConfig, instruction: Expose) -> tuple[RunConfig, str]:
    """Return a configuration with the ports added, and the history's text: ranges are single ports (trap 55)."""
    ports = [port for word in instruction.ports for port in parse_exposed(word).ports]
    exposed: dict[str, Any] = {**(config.ExposedPorts or {}), **{port: {} for port in ports}}
    return msgspec.structs.replace(config, ExposedPorts=exposed), f"EXPOSE {plain_list(ports)}"


def add_volumes(config: RunConfig, instruction: Volume) -> tuple[RunConfig, str]:
    """Return a configuration with the volumes added, and the history's text."""
    for path in instruction.paths:
        if not path:
            raise LanguageError("VOLUME specified can not be an empty string", hint="a variable in it is not set")
    volumes: dict[str, Any] = {**(config.Volumes or {}), **{path: {} for path in instruction.paths}}
    return msgspec.structs.replace(config, Volumes=volumes), f"VOLUME {plain_list(instruction.paths)}"


def set_stop_signal(config: RunConfig, instruction: StopSignal) -> tuple[RunConfig, str]:
    """Return a configuration with the signal, stored as written once it is known to be one (trap 57), and the history's text."""
    text = instruction.signal
    is_number = text.isascii() and text.isdecimal()
    if not (0 < int(text) <= 64 if is_number else text.upper().removeprefix("SIG") in _SIGNALS):
        raise LanguageError(f"invalid signal: {text}", word=text, hint="write SIGTERM, TERM or 15")
    return msgspec.structs.replace(config, StopSignal=text), f"STOPSIGNAL {text}"


def set_healthcheck(config: RunConfig, instruction: Healthcheck) -> tuple[RunConfig, str]:
    """Return a configuration with the check, in nanoseconds (trap 58), and the history's text: Go's %+v of it."""
    durations = {
        "Interval": instruction.interval_ns,
        "Timeout": instruction.timeout_ns,
        "StartPeriod": instruction.start_period_ns,
        "StartInterval": instruction.start_interval_ns,
    }
    check: dict[str, Any] = {"Test": list(instruction.test)}
    check |= {key: value for key, value in durations.items() if value}
    if instruction.retries:
        check["Retries"] = instruction.retries
    parts = [f"Test:{plain_list(instruction.test)}"]
    parts += [f"{key}:{format_duration(value)}" for key, value in durations.items()]
    parts.append(f"Retries:{instruction.retries}")
    return msgspec.structs.replace(config, Healthcheck=check), f"HEALTHCHECK {{{' '.join(parts)}}}"


def command_words(
    config: RunConfig, instruction: CommandLine, *, words: tuple[str, ...] | None = None
) -> tuple[str, ...]:
    """Return what a command executes: the JSON form's words, or the image's shell (trap 25) with the text."""
    words = instruction.words if words is None else words
    if not instruction.shell:
        return words
    return (*(config.Shell or DEFAULT_SHELL), " ".join(words))
