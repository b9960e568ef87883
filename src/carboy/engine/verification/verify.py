"""``carboy verify``: an image is built again, elsewhere and otherwise, and compared with what is there."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.comparison.images import ARCHIVE, EQUAL, ImageComparison, Side, compare_documents, compare_images
from carboy.comparison.reasons import Surroundings
from carboy.engine.documents.recorded import parse_labels
from carboy.engine.images import read_config, resolve_image
from carboy.engine.verification.conditions import Condition, Machine, Settings, choose_settings, describe_conditions
from carboy.engine.verification.rebuild import Rebuilt, Source, rebuild
from carboy.images.platforms import choose_manifest, read_platform
from carboy.images.times import format_time

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carboy.engine.context import Engine
    from carboy.engine.documents.recorded import Recorded
    from carboy.oci.descriptor import Descriptor

SAME_HERE = "built again under the conditions of this machine it is the same: what differs depends on the conditions"
SAME_AGAIN = "two rebuilds are the same: the image was made of something else (other files, versions or options)"
NEVER_SAME = "two rebuilds differ from each other as well: the build is not reproducible"
MOVED = (
    "the distribution's archive is newer than when the image was built; a mirror of that day's archive "
    "([archives] in config.toml) has what it had"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What came of it: the conditions, how the image compares to the rebuild, and what a second rebuild tells of a difference."""

    name: str
    source: Source
    conditions: tuple[Condition, ...]
    comparison: ImageComparison
    notes: tuple[str, ...] = ()


def read_recorded(engine: Engine, image: Descriptor) -> Recorded:
    """Return what an image of a folder of Python or R says it was made of. Raises ``CarboyError``."""
    return parse_labels(read_config(engine, image).config.Labels or {})


def verify_image(
    engine: Engine,
    name: str,
    source: Source,
    *,
    program: Sequence[str],
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Verification:
    """Build the image ``name`` again from ``source``, once and, where that differs, a second time as this machine is.

    ``program`` is the argument vector of a process that builds (``rebuild.answer_request``); ``say`` takes what is being done.
    Nothing is left of it. Raises ``CarboyError``.
    """
    store = engine.store
    with store.lease("verify"), store.layers.ingest_dir() as place:
        top = resolve_image(engine, name)
        image = choose_manifest(store, top, name=name)
        machine = _look(engine, source.folder)
        settings = choose_settings(machine)
        say("building it again, under other conditions and with empty caches")
        # No step of the rebuild is in the second in which the image was made: a clock would read the same.
        sleep(1 - time.time() % 1)
        began_s = time.time()
        first = rebuild(engine, f"{place}/a", source, settings, program=program)
        around = _surround(engine, machine, settings, first)
        comparison = compare_images(Side(store=store, descriptor=image), _choose(engine, image, first), around)
        notes = [MOVED] if _is_newer(comparison) else []
        if not comparison.is_equal:
            say("it differs; building it once more, as this machine is")
            sleep(1 - time.time() % 1)
            second = rebuild(engine, f"{place}/b", source, Settings(folder_name="folder"), program=program)
            notes.append(_judge(engine, image, first, second))
    return Verification(
        name=name,
        source=source,
        conditions=describe_conditions(
            machine, settings, now=format_time(began_s), path=f"...{first.path.removeprefix(place)}"
        ),
        comparison=comparison,
        notes=tuple(notes),
    )


def _look(engine: Engine, folder: str) -> Machine:
    environ = engine.environ
    umask = os.umask(0o022)
    os.umask(umask)
    return Machine(
        tier=engine.tier.name,
        id_count=engine.tier.id_count,
        umask=umask,
        locale=environ.get("LC_ALL") or environ.get("LANG") or "",
        zone=environ.get("TZ", ""),
        host_name=os.uname().nodename,
        processors=tuple(sorted(os.sched_getaffinity(0))),
        folder=folder,
        owner=_find_owner(folder),
    )


def _find_owner(folder: str) -> int:
    with translate_os_errors(f"read the folder {folder}"):
        return os.stat(folder).st_uid


def _surround(engine: Engine, machine: Machine, settings: Settings, made: Rebuilt) -> Surroundings:
    """Return what a difference may come from; what is here may have been otherwise when the image was built."""
    values = {
        "the path of the folder": (machine.folder, made.path),
        "the path of carboy's home": (engine.home.path, made.store.home.path),
        "the name of the host": (machine.host_name, settings.host_name),
        "the time zone": (machine.zone, settings.zone),
        "the locale": (machine.locale, settings.locale),
        "the umask": (f"{machine.umask:04o}", f"{settings.umask or 0:04o}"),
    }
    if settings.processors:
        values["the number of processors"] = (str(len(machine.processors)), str(len(settings.processors)))
    return Surroundings(values=values)


def _choose(engine: Engine, image: Descriptor, made: Rebuilt) -> Side:
    """Return the rebuilt image for the platform of the one that is verified."""
    platform = read_platform(engine.store, image)
    return Side(store=made.store, descriptor=choose_manifest(made.store, made.descriptor, platform=platform))


def _judge(engine: Engine, image: Descriptor, first: Rebuilt, second: Rebuilt) -> str:
    one, other = _choose(engine, image, first), _choose(engine, image, second)
    if compare_documents(Side(store=engine.store, descriptor=image), other)[0] in EQUAL:
        return SAME_HERE
    return SAME_AGAIN if compare_documents(one, other)[0] in EQUAL else NEVER_SAME


def _is_newer(comparison: ImageComparison) -> bool:
    """Return whether the archive says another thing of itself, be the packages the same or not."""
    return comparison.level == ARCHIVE or any("io.carboy.archive" in one.name for one in comparison.settings)
