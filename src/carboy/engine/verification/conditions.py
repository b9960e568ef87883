"""What is made different for a rebuild, and what cannot be: pure. Source: reprotest(1), its list of variations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

OWNER = 54_321
"""Whose the files of the folder's copy are, where a tier has so many ids."""
_UMASKS = (0o077, 0o002)
_LOCALES = ("tr_TR.UTF-8", "C")
_ZONES = ("Pacific/Chatham", "UTC")
_SEEDS = ("4711", "42")
HOST_NAME = "carboy-verify-elsewhere"
# Long before any project of today, and not a round number.
FILE_TIME_S = 631_152_123


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the conditions depend on: those of this process, and what its tier can do."""

    tier: str
    id_count: int
    umask: int
    locale: str
    zone: str
    host_name: str
    processors: tuple[int, ...]
    folder: str
    owner: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One thing around a build: what it is here and in the rebuild. ``varied`` is False for what stayed; ``note`` says why."""

    name: str
    here: str
    there: str
    varied: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the rebuild's process and its copy of the folder are set up; None and "" leave a thing as it is here."""

    umask: int | None = None
    locale: str = ""
    zone: str = ""
    seed: str = ""
    host_name: str = ""
    processors: tuple[int, ...] = ()
    owner: int | None = None
    file_time_s: int | None = None
    folder_name: str = "folder"

    def to_json(self) -> dict[str, Any]:
        """Return what the rebuild's process applies by itself."""
        return {"umask": self.umask, "host_name": self.host_name, "processors": list(self.processors)}


def choose_settings(machine: Machine) -> Settings:
    """Return what is different in the rebuild from what is so here."""
    return Settings(
        umask=next(value for value in _UMASKS if value != machine.umask),
        locale=next(value for value in _LOCALES if value != machine.locale),
        zone=next(value for value in _ZONES if value != machine.zone),
        seed=_SEEDS[0],
        host_name=HOST_NAME,
        processors=machine.processors[-1:] if len(machine.processors) > 1 else (),
        owner=OWNER if machine.id_count > OWNER else None,
        file_time_s=FILE_TIME_S,
        folder_name="some where else/of another name",
    )


def describe_conditions(machine: Machine, settings: Settings, *, now: str, path: str) -> tuple[Condition, ...]:
    """Return all conditions for people. ``now`` is the time of the rebuild, ``path`` that of the folder's copy."""
    count = len(machine.processors)
    return (
        Condition(
            name="time", here="when it was built", there=now,
            note="the machine's clock, which goes on: Linux has no other date for one process",
        ),
        Condition(name="host name", here=machine.host_name, there=settings.host_name,
                  note="the machine's; steps see one fixed name"),
        Condition(
            name="user id", here=f"files of {machine.owner}",
            there=f"files of {machine.owner if settings.owner is None else settings.owner}",
            varied=settings.owner is not None,
            note="steps are uid 0 of their container in every build"
            + ("" if settings.owner is not None else f"; the tier {machine.tier} has no other owner for files"),
        ),
        Condition(name="umask", here=f"{machine.umask:04o}", there=f"{settings.umask or 0:04o}"),
        Condition(name="locale", here=machine.locale or "unset", there=settings.locale),
        Condition(name="time zone", here=machine.zone or "unset", there=settings.zone),
        Condition(
            name="processors", here=str(count), there=str(len(settings.processors) or count),
            varied=bool(settings.processors), note="" if settings.processors else "there is only one",
        ),
        Condition(name="path of the folder", here=machine.folder, there=path),
        Condition(name="files of the folder", here="as they are", there="other times, made in another order"),
        Condition(name="hashes of Python", here="random", there=f"seed {settings.seed}", note="of carboy's own Python"),
        Condition(name="caches", here="in use", there="empty", note="a distribution's packages are used again by their hashes"),
    )  # fmt: skip
