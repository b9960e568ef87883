"""What a context's digests depend on, what is remembered, what is refused."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from carboy.build.context import scan as module
from carboy.build.context.scan import ContextScan
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from pathlib import Path


class Without:
    """Leaves out these paths, and takes one back in."""

    def __init__(self, *paths: str, back: str = "") -> None:
        self._paths, self._back = paths, back

    def matches(self, path: str, *, is_folder: bool) -> bool:
        if self._back and path == self._back:
            return False
        return any(path == own or path.startswith(own + "/") for own in self._paths)

    def may_hold_exceptions(self, path: str) -> bool:
        return self._back.startswith(path + "/")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "context"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "a.py").write_text("a")
    (root / "sub" / "b.py").write_text("b")
    (root / "sub" / "deep" / "c.py").write_text("c")
    (root / "link").symlink_to("a.py")
    return root


def digest(folder: Path, path: str = "", **options: object) -> str:
    return ContextScan(str(folder), **options).digest_folder(path)  # type: ignore[arg-type]


def test_times_and_owners_do_not_count(folder: Path) -> None:
    before = digest(folder)
    os.utime(folder / "a.py", (1, 1))
    os.utime(folder / "sub", (1, 1))
    assert digest(folder) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda f: (f / "sub" / "deep" / "c.py").write_text("d"),
        lambda f: (f / "sub" / "deep" / "c.py").chmod(0o755),
        lambda f: (f / "sub" / "deep").chmod(0o700),
        lambda f: (f / "sub" / "b.py").rename(f / "sub" / "bb.py"),
        lambda f: ((f / "link").unlink(), (f / "link").symlink_to("sub")),
        lambda f: (f / "new").mkdir(),
        lambda f: os.setxattr(f / "a.py", "user.x", b"1"),
    ],
)
def test_what_counts(folder: Path, change: object) -> None:
    before = digest(folder)
    change(folder)  # type: ignore[operator]
    assert digest(folder) != before


def test_a_part_of_it(folder: Path) -> None:
    before = digest(folder, "sub")
    (folder / "a.py").write_text("changed")
    assert digest(folder, "sub") == before
    (folder / "sub" / "b.py").write_text("changed")
    assert digest(folder, "sub") != before


def test_one_file_without_its_name(folder: Path) -> None:
    scan = ContextScan(str(folder))
    (folder / "other").write_text("a")
    assert scan.digest_file("a.py") == scan.digest_file("other")
    assert scan.digest_file("a.py") != scan.digest_file("sub/b.py")


def test_what_is_ignored_is_never_opened(folder: Path) -> None:
    before = digest(folder, ignore=Without("sub"))
    (folder / "sub" / "b.py").write_text("changed")
    assert digest(folder, ignore=Without("sub")) == before
    back = Without("sub", back="sub/b.py")
    before = digest(folder, ignore=back)
    (folder / "sub" / "deep" / "c.py").write_text("changed")
    assert digest(folder, ignore=back) == before
    (folder / "sub" / "b.py").write_text("again")
    assert digest(folder, ignore=back) != before


def test_the_second_time_nothing_is_read(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = time.time() - 60
    # The time of the change cannot be set: the tests' files are always new.
    monkeypatch.setattr(module, "_FRESH_NS", -(10**12))
    for path in [*folder.rglob("*")]:
        os.utime(path, (old, old), follow_symlinks=False)
    cache = str(tmp_path / "cache")
    first = ContextScan(str(folder), cache_dir=cache)
    before = first.digest_folder("")
    single = first.digest_file("a.py")
    first.save()

    def never(*_: object) -> bytes:
        raise AssertionError("it was read again")

    monkeypatch.setattr(module, "_read_content", never)
    again = ContextScan(str(folder), cache_dir=cache)
    assert again.digest_folder("") == before
    assert again.digest_file("a.py") == single


def test_of_a_folder_with_one_new_file_only_that_is_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FRESH_NS", -(10**12))
    cache = str(tmp_path / "cache")
    first = ContextScan(str(folder), cache_dir=cache)
    first.digest_folder("")
    first.save()
    (folder / "sub" / "new.py").write_text("n")
    read: list[str] = []
    really = module._read_content
    monkeypatch.setattr(module, "_read_content", lambda fd, entry: (read.append(entry[0]), really(fd, entry))[1])
    again = ContextScan(str(folder), cache_dir=cache)
    assert again.digest_folder("") == digest(folder)
    assert read == ["new.py", *["a.py", "link", "b.py", "new.py", "c.py"]]


def test_what_is_fresh_is_not_remembered(folder: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    scan = ContextScan(str(folder), cache_dir=cache)
    (folder / "a.py").write_text("x")
    before = scan.digest_folder("")
    scan.save()
    status = (folder / "a.py").stat()
    (folder / "a.py").write_text("y")
    os.utime(folder / "a.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ContextScan(str(folder), cache_dir=cache).digest_folder("") != before


def test_a_damaged_memory_is_none(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    scan = ContextScan(str(folder), cache_dir=str(cache))
    scan._memory._changed = True
    scan.save()
    (file,) = cache.iterdir()
    file.write_bytes(b"nonsense")
    assert ContextScan(str(folder), cache_dir=str(cache)).digest_folder("") == digest(folder)


def test_too_large_is_refused_before_anything_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (folder / "sub" / "huge").open("wb") as file:
        file.truncate(50 * 2**30)

    def never(*_: object) -> bytes:
        raise AssertionError("it was read")

    monkeypatch.setattr(module, "_read_content", never)
    with pytest.raises(CarboyError) as caught:
        digest(folder)
    assert "sub/ (50.0 GiB)" in caught.value.details
    assert ".dockerignore" in caught.value.hint


def test_sockets_and_fifos_are_left_out(folder: Path) -> None:
    before = digest(folder)
    os.mkfifo(folder / "fifo")
    assert digest(folder) == before


def test_a_folder_exchanged_for_a_link_leads_nowhere(folder: Path, tmp_path: Path) -> None:
    scan = ContextScan(str(folder))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "b.py").write_text("secret")
    (folder / "sub").rename(folder / "moved")
    (folder / "sub").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        scan.digest_folder("sub")


@pytest.mark.long
def test_a_hundred_thousand_files_that_have_not_changed_are_a_second(tmp_path: Path) -> None:
    """In time of the processor: others load the machine, too."""
    for part in range(100):
        folder = tmp_path / "context" / f"part-{part}"
        folder.mkdir(parents=True)
        for name in range(1000):
            os.mknod(folder / f"{name}.csv", 0o100644)
    options = {"cache_dir": str(tmp_path / "cache")}
    time.sleep(0.1)
    first = ContextScan(str(tmp_path / "context"), **options)  # type: ignore[arg-type]
    expected = first.digest_folder("")
    first.save()
    began_s = time.process_time()
    again = ContextScan(str(tmp_path / "context"), **options)  # type: ignore[arg-type]
    assert again.digest_folder("") == expected
    assert time.process_time() - began_s < 1
    observed = again.observe(())
    assert observed is not None
    began_s = time.process_time()
    assert observed.is_still()
    assert time.process_time() - began_s < 1
    (tmp_path / "context/part-50/500.csv").write_text("x")
    assert not observed.is_still()
    assert ContextScan(str(tmp_path / "context"), **options).digest_folder("") != expected  # type: ignore[arg-type]
