"""What a rebuild is made different by, the copy that it reads, and where an image is noted to be from."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from carboy.base.home import open_home
from carboy.engine.context import Engine
from carboy.engine.verification.conditions import OWNER, Machine, Settings, choose_settings, describe_conditions
from carboy.engine.verification.copying import copy_folder
from carboy.engine.verification.origins import Origin, find_origin, note_origin
from carboy.errors import CarboyError
from carboy.linux.identity import Tier
from carboy.oci.digest import Digest
from carboy.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path


def machine(**more: object) -> Machine:
    values: dict[str, object] = {
        "tier": "root", "id_count": 65_536, "umask": 0o022, "locale": "C.UTF-8", "zone": "", "host_name": "vm",
        "processors": (0, 1), "folder": "/home/me/project",
    }  # fmt: skip
    return Machine(**{**values, **more})  # type: ignore[arg-type]


def test_all_that_can_be_is_different() -> None:
    here = machine()
    found = choose_settings(here)
    assert found.umask != here.umask
    assert found.locale != here.locale
    assert found.zone != here.zone
    assert found.host_name != here.host_name
    assert found.processors == (1,)
    assert found.owner == OWNER
    conditions = describe_conditions(here, found, now="2026-01-01T00:00:00Z", path=".../elsewhere")
    assert all(one.varied and one.here != one.there for one in conditions)
    other = choose_settings(machine(umask=0o077, locale="tr_TR.UTF-8", zone="Pacific/Chatham"))
    assert (other.umask, other.locale, other.zone) == (0o002, "C", "UTC")


def test_what_cannot_be_is_said() -> None:
    here = machine(tier="single", id_count=1, processors=(3,))
    conditions = describe_conditions(here, choose_settings(here), now="2026-01-01T00:00:00Z", path=".../elsewhere")
    fixed = {one.name: one.note for one in conditions if not one.varied}
    assert set(fixed) == {"user id", "processors"}
    assert "the tier single has no other owner" in fixed["user id"]
    assert fixed["processors"] == "there is only one"
    assert "no other date" in next(one.note for one in conditions if one.name == "time")


def test_a_copy_is_the_same_in_all_that_counts(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "inner").mkdir(parents=True)
    (source / ".git" / "inner").mkdir(parents=True)
    (source / "inner" / "program").write_text("x")
    (source / "inner" / "program").chmod(0o750)
    (source / "link").symlink_to("inner/program")
    os.mkfifo(source / "fifo")
    (source / "inner").chmod(0o711)
    before = os.umask(0o077)
    try:
        copy_folder(str(source), str(tmp_path / "copy"), Settings(file_time_s=1000), leave_out=(".git",))
    finally:
        os.umask(before)
    copy = tmp_path / "copy"
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*")) == ["inner", "inner/program", "link"]
    status = (copy / "inner" / "program").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o750, 1000)
    assert stat.S_IMODE((copy / "inner").stat().st_mode) == 0o711
    assert (copy / "link").lstat().st_mtime == 1000
    assert os.readlink(copy / "link") == "inner/program"
    copy_folder(str(source), str(tmp_path / "strict"), Settings(), mask=0o077)
    assert stat.S_IMODE((tmp_path / "strict" / "inner" / "program").stat().st_mode) == 0o700
    with pytest.raises(CarboyError, match="there is no folder"):
        copy_folder(str(tmp_path / "nowhere"), str(tmp_path / "other"), Settings())


def test_origins(tmp_path: Path) -> None:
    home = open_home(str(tmp_path / "home"))
    tier = Tier("root", uid_extents=((0, 0, 65_536),), gid_extents=((0, 0, 65_536),), owner=(0, 0))
    engine = Engine(home=home, tier=tier, store=Store.open(home), environ={})
    image = Digest.of(b"image")
    assert find_origin(engine, image) is None
    origin = Origin(folder="/a", file="/a/Dockerfile", words=("--target=x",), cwd="/", unsaid=("TOKEN",))
    note_origin(engine, image, origin)
    noted = engine.store.cache.get(f"origin:{image}")
    note_origin(engine, image, origin)
    again = engine.store.cache.get(f"origin:{image}")
    assert find_origin(engine, image) == origin
    assert noted is not None
    assert again is not None
    assert noted.created_at_s == again.created_at_s
