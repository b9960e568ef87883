"""``config.toml`` in the home: what its owner wants to be so unless a command says otherwise."""

from __future__ import annotations

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FILE = "config.toml"
MAX_BYTES = 65_536
# Each key with the variable that counts more than the file. All values are texts.
KEYS = {"runtime": "CARBOY_RUNTIME", "network": "CARBOY_NETWORK", "context-limit": "CARBOY_CONTEXT_LIMIT"}
# What has tables of its own, which the rooms that read them check: images that are made here, the archives for them,
# where images come from and go to, and where R's repositories and conda's channels are.
TABLES = ("archives", "bases", "registries", "r", "conda")


def read_default(key: str, *, home: str, environ: Mapping[str, str]) -> str:
    """Return what is set for ``key`` by its variable, else by the file; "" where nothing is.

    Raises ``CarboyError`` (125) for a file that cannot be read, or says what is not understood.
    """
    return environ.get(KEYS[key]) or str(_read(f"{home}/{FILE}").get(key, ""))


def read_table(key: str, *, home: str) -> dict[str, Any]:
    """Return the file's table ``key``, empty where there is none. Raises ``CarboyError`` (125) as :func:`read_default`."""
    found: dict[str, Any] = _read(f"{home}/{FILE}").get(key, {})
    return found


def _read(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CarboyError(f"{path} cannot be read", details=error.strerror or "", code=125) from error
    if len(data) > MAX_BYTES:
        raise CarboyError(f"{path} is larger than {MAX_BYTES} bytes", code=125)
    return parse_config(data.decode(errors="replace"), path=path)


def parse_config(text: str, *, path: str) -> dict[str, Any]:
    """Return the settings in ``text``. Pure. Raises ``CarboyError`` (125) that names the wrong key and the right ones."""
    import tomllib

    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CarboyError(
            f"{path} is not valid TOML", details=str(error), hint="correct that line", code=125
        ) from error
    for key, value in found.items():
        if key not in KEYS and key not in TABLES:
            known = ", ".join((*KEYS, *TABLES))
            raise CarboyError(f"{path}: there is no setting {key[:100]!r}", hint=f"there is: {known}", code=125)
        if key in TABLES and not isinstance(value, dict):
            raise CarboyError(f"{path}: {key} must be a table", hint=f"write [{key}.NAME]", code=125)
        if key in KEYS and not isinstance(value, str):
            raise CarboyError(f"{path}: {key} must be a text", hint=f'write {key} = "..."', code=125)
    return found
