"""What a COPY makes of a parent, by the traps of the language's reference (their numbers are in the names)."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
from typing import TYPE_CHECKING

import pytest

from carboy.build.context.scan import ContextScan
from carboy.build.copying.modes import parse_chmod
from carboy.build.copying.owners import Owners
from carboy.build.copying.place import Placer, Target
from carboy.build.copying.select import Source
from carboy.build.copying.views import ContextView, FilesView, SingleFile, StateView
from carboy.dockerfile.ignore import compile_ignore
from carboy.errors import CarboyError
from carboy.snapshots.merged import MergedRoot, find

if TYPE_CHECKING:
    from pathlib import Path

    from carboy.build.copying.views import View

EPOCH_S = 1_000_000_000


class Forgetful:
    def recall(self, key: str) -> str | None:
        return None

    def remember(self, key: str, digest: str) -> None:
        pass


class Bench:
    """A parent's layer, a context, and the tree that copies go into."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.parent, self.context, self.upper = place / "parent", place / "context", place / "upper"
        for folder in (self.parent, self.context, self.upper):
            folder.mkdir()
        self.owners: dict[bytes, tuple[int, int]] = {}

    def view(self, ignore: str = "") -> ContextView:
        rules = compile_ignore(ignore.split()) if ignore else None
        return ContextView(ContextScan(str(self.context), ignore=rules))

    def state(self) -> StateView:
        trees = (str(self.parent),)
        return StateView(lambda: (trees, Owners()), chain=["x"], title="the stage", memory=Forgetful())

    def copy(
        self,
        *paths: str,
        to: str,
        view: View | None = None,
        chown: tuple[int, int] | None = None,
        chmod: str = "",
        parents: bool = False,
        exclude: str = "",
        unpack: str = "never",
        link: bool = False,
    ) -> None:
        view = view or self.view()
        placer = Placer([] if link else [str(self.parent)], str(self.upper), on_disk=False)
        target = Target(destination=to, chown=chown, chmod=parse_chmod(chmod), epoch_s=EPOCH_S)
        excluded = compile_ignore(exclude.split()) if exclude else None
        for path in paths:
            for one in view.select(Source(path=path, parents=parents, excluded=excluded)):
                assert len(view.digest(one)) == 64
                placer.copy(one, view, target, unpack=unpack)
        self.owners |= placer.owners

    def tree(self) -> set[str]:
        """Return the paths of the new layer that are no folders, and empty folders."""
        return {
            str(path.relative_to(self.upper))
            for path in self.upper.rglob("*")
            if not path.is_dir() or path.is_symlink() or not any(path.iterdir())
        }

    def mode(self, path: str) -> int:
        return stat.S_IMODE((self.upper / path).lstat().st_mode)

    def seen(self, path: str) -> bytes | None:
        """Return the target of a link or the content of a file in the image."""
        with MergedRoot([str(self.parent)], str(self.upper)).open() as root, find(root, path.encode()) as place:
            if place.entry is None or place.folder is None:
                return None
            fd = place.folder.open_file(place.name)
            with os.fdopen(fd, "rb") as file:
                return file.read()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    (bench.context / "a.txt").write_text("a")
    (bench.context / "b.txt").write_text("b")
    (bench.context / "dir" / "sub").mkdir(parents=True)
    (bench.context / "dir" / "c.txt").write_text("c")
    (bench.context / "dir" / "sub" / "d.txt").write_text("d")
    return bench


def test_a_file_to_a_name_and_to_a_folder(bench: Bench) -> None:
    bench.copy("a.txt", to="/x/new")
    bench.copy("a.txt", to="/y/")
    (bench.parent / "there").mkdir()
    bench.copy("a.txt", to="/there")
    assert bench.tree() == {"x/new", "y/a.txt", "there/a.txt"}
    assert (bench.upper / "x" / "new").stat().st_mtime == EPOCH_S


def test_the_layers_of_a_state_are_opened_once_however_many_files_are_copied(bench: Bench) -> None:
    for number in range(20):
        (bench.parent / f"f{number}").write_text("x")
    asked = []

    def open_trees() -> tuple[tuple[str, ...], Owners]:
        asked.append(1)
        return (str(bench.parent),), Owners()

    view = StateView(open_trees, chain=["x"], title="the stage", memory=Forgetful())
    bench.copy("/", to="/all/", view=view)
    assert len(bench.tree()) == 20
    assert len(asked) == 1


def test_trap_34_whose_files_are(bench: Bench) -> None:
    bench.copy("a.txt", to="/x")
    bench.copy("a.txt", to="/y", chown=(5, 6))
    assert bench.owners == {b"x": (0, 0), b"y": (5, 6)}
    if os.getuid() == 0:
        (bench.parent / "own").touch()
        os.chown(bench.parent / "own", 7, 8)
        bench.copy("own", to="/z", view=bench.state())
        assert bench.owners[b"z"] == (7, 8)


def test_trap_35_a_new_folder_is_fresh_and_what_is_in_it_is_not(bench: Bench) -> None:
    (bench.context / "dir").chmod(0o700)
    (bench.context / "dir" / "sub").chmod(0o711)
    bench.copy("dir", to="/new")
    assert bench.tree() == {"new/c.txt", "new/sub/d.txt"}
    assert (bench.mode("new"), bench.mode("new/sub")) == (0o755, 0o711)


def test_trap_36_a_folder_that_is_there_keeps_its_own_and_those_below_do_not(bench: Bench) -> None:
    (bench.parent / "old" / "sub").mkdir(parents=True)
    (bench.parent / "old").chmod(0o1777)
    (bench.parent / "old" / "sub").chmod(0o700)
    (bench.context / "dir" / "sub").chmod(0o711)
    bench.copy("dir", to="/old/")
    assert (bench.mode("old"), bench.mode("old/sub")) == (0o1777, 0o711)


def test_trap_37_an_octal_mode_is_also_that_of_new_folders(bench: Bench) -> None:
    bench.copy("a.txt", to="/x/y/", chmod="700")
    assert [bench.mode(path) for path in ("x", "x/y", "x/y/a.txt")] == [0o700] * 3
    bench.copy("a.txt", to="/s/", chmod="u=rw,go=")
    assert [bench.mode(path) for path in ("s", "s/a.txt")] == [0o755, 0o600]


def test_trap_38_links_have_no_mode(bench: Bench) -> None:
    (bench.context / "dir" / "link").symlink_to("c.txt")
    bench.copy("dir", to="/x/", chmod="4755")
    assert bench.mode("x/c.txt") == 0o4755
    assert (bench.upper / "x" / "link").readlink().name == "c.txt"


def test_trap_39_nothing_for_a_wildcard_is_fine_and_a_missing_path_is_not(bench: Bench) -> None:
    bench.copy("*.none", to="/x/")
    assert not bench.tree()
    with pytest.raises(CarboyError, match=r"'none.txt' is not in the build context"):
        bench.copy("none.txt", to="/x/")


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("a.tx", "did you mean a.txt?"),
        ("/dri/sub/d.txt", "did you mean dir/sub/d.txt?"),
        ("dir/sbu/d.txt", "did you mean dir/sub/d.txt?"),
        ("dir/d.txt/x", "check the path, which begins there"),
        ("nothing-like-it", "check the path, which begins there"),
        ("a.txt/x", "check the path, which begins there"),
    ],
)
def test_a_path_that_is_nearly_there_is_named(bench: Bench, path: str, hint: str) -> None:
    (bench.context / "dir" / "c.txt").unlink()
    with pytest.raises(CarboyError) as caught:
        bench.copy(path, to="/x")
    assert caught.value.hint == hint


def test_what_is_ignored_is_not_suggested(bench: Bench) -> None:
    with pytest.raises(CarboyError, match="is not in the build context") as caught:
        bench.copy("a.tx", to="/x", view=bench.view("a.txt b.txt"))
    assert caught.value.hint == "check the path, which begins there"


def test_trap_40_wildcards_stay_within_a_name(bench: Bench) -> None:
    bench.copy("*.txt", to="/x/")
    bench.copy("*/*/d.?xt", to="/y/")
    bench.copy("[b-z].txt", to="/z/")
    (bench.context / "[odd]").write_text("odd")
    bench.copy("[[]odd]", to="/w/")
    assert bench.tree() == {"x/a.txt", "x/b.txt", "y/d.txt", "z/b.txt", "w/[odd]"}


def test_trap_41_what_leads_out_is_cut(bench: Bench) -> None:
    bench.copy("/a.txt", "../../b.txt", to="/x/")
    assert bench.tree() == {"x/a.txt", "x/b.txt"}


def test_trap_42_the_last_of_two_files_with_one_name_wins(bench: Bench) -> None:
    bench.copy("a.txt", "b.txt", to="/out")
    assert bench.tree() == {"out"}
    assert (bench.upper / "out").read_text() == "b"


def test_trap_43_links(bench: Bench) -> None:
    (bench.context / "link").symlink_to("dir/c.txt")
    (bench.context / "dir" / "inner").symlink_to("/etc/passwd")
    (bench.parent / "usr" / "lib").mkdir(parents=True)
    (bench.parent / "lib").symlink_to("usr/lib")
    bench.copy("link", "dir", to="/lib/")
    assert bench.tree() == {"usr/lib/link", "usr/lib/c.txt", "usr/lib/inner", "usr/lib/sub/d.txt"}
    assert not (bench.upper / "usr/lib/link").is_symlink()
    assert (bench.upper / "usr/lib/inner").is_symlink()


@pytest.mark.parametrize("target", ["../../../../outside", "/outside", "up/../../../../outside"])
def test_trap_43_no_link_leads_out(bench: Bench, target: str) -> None:
    (bench.place / "outside").write_text("secret")
    (bench.context / "evil").symlink_to(target)
    (bench.context / "up").symlink_to("..")
    with pytest.raises(CarboyError, match="is not in the build context"):
        bench.copy("evil", to="/x")
    (bench.parent / "evil").symlink_to(target.replace("outside", "new"))
    (bench.parent / "up").symlink_to("..")
    bench.copy("a.txt", to="/evil/")
    assert not (bench.place / "new").exists()
    assert {path.rpartition("/")[2] for path in bench.tree()} == {"a.txt"}


def test_trap_44_a_folder_and_a_file_do_not_replace_each_other(bench: Bench) -> None:
    (bench.parent / "x" / "a.txt").mkdir(parents=True)
    with pytest.raises(CarboyError, match="cannot replace a folder"):
        bench.copy("a.txt", to="/x/")
    (bench.parent / "file").touch()
    with pytest.raises(CarboyError, match="is not a folder"):
        bench.copy("dir", to="/file")


def test_trap_44_hard_links_attributes_and_a_stages_times_are_kept(bench: Bench) -> None:
    (bench.parent / "s").mkdir()
    (bench.parent / "s" / "one").write_text("1")
    os.link(bench.parent / "s" / "one", bench.parent / "s" / "two")
    os.setxattr(bench.parent / "s" / "one", "user.x", b"y")
    os.utime(bench.parent / "s" / "one", (5, 5))
    bench.copy("s", to="/t", view=bench.state())
    one = (bench.upper / "t" / "one").stat()
    assert one.st_ino == (bench.upper / "t" / "two").stat().st_ino
    assert one.st_mtime == 5


def test_trap_45_linked_copies_see_no_parent(bench: Bench) -> None:
    (bench.parent / "lib").symlink_to("usr/lib")
    bench.copy("a.txt", to="/lib/", link=True)
    assert bench.tree() == {"lib/a.txt"}


def test_trap_46_parents(bench: Bench) -> None:
    bench.copy("dir/sub/d.txt", "dir/c.txt", to="/x/", parents=True)
    bench.copy("./dir/./sub/d.txt", to="/y/", parents=True)
    bench.copy("**/*.txt", to="/z/", parents=True)
    bench.copy("dir/sub", to="/w/", parents=True)
    assert bench.tree() == {
        "x/dir/sub/d.txt", "x/dir/c.txt", "y/sub/d.txt", "z/a.txt", "z/b.txt", "z/dir/c.txt", "z/dir/sub/d.txt",
        "w/dir/sub/d.txt",
    }  # fmt: skip
    with pytest.raises(CarboyError, match="is not in the build context"):
        bench.copy("dir/none", to="/x/", parents=True)
    (bench.context / "dir").chmod(0o711)
    bench.copy("dir/c.txt", to="/v/", parents=True)
    assert bench.mode("v/dir") == 0o711


def test_trap_47_excluded_is_what_is_below_a_source(bench: Bench) -> None:
    (bench.context / "home.txt").write_text("h")
    bench.copy("hom*", to="/x/", exclude="*.txt")
    bench.copy("dir", to="/y/", exclude="*.txt")
    bench.copy("dir", to="/z/", exclude="**/*.txt !sub/d.txt")
    assert bench.tree() == {"x/home.txt", "y/sub/d.txt", "z/sub/d.txt"}


def make_tar(**settings: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", **settings) as archive:
        folder = tarfile.TarInfo("in")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o711
        archive.addfile(folder)
        info = tarfile.TarInfo("in/file")
        info.size, info.uid, info.gid, info.mode, info.mtime = 4, 11, 12, 0o640, 77
        archive.addfile(info, io.BytesIO(b"data"))
        link = tarfile.TarInfo("in/hard")
        link.type, link.linkname = tarfile.LNKTYPE, "in/file"
        archive.addfile(link)
    return out.getvalue()


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_trap_48_archives_are_unpacked_by_content(bench: Bench, compress: object) -> None:
    (bench.context / "data.bin").write_bytes(compress(make_tar()))  # type: ignore[operator]
    bench.copy("data.bin", to="/x", chmod="600", unpack="auto")
    assert bench.tree() == {"x/in/file", "x/in/hard"}
    assert (bench.mode("x/in"), bench.mode("x/in/file")) == (0o711, 0o640)
    assert (bench.upper / "x/in/file").stat().st_mtime == 77
    assert bench.owners[b"x/in/file"] == (11, 12)
    bench.copy("data.bin", to="/y", chown=(1, 2), unpack="auto")
    assert bench.owners[b"y/in/file"] == (1, 2)


def test_trap_48_what_is_no_archive_is_copied(bench: Bench) -> None:
    (bench.context / "text.gz").write_bytes(gzip.compress(b"no tar at all"))
    (bench.context / "empty.tar").write_bytes(b"")
    bench.copy("text.gz", "empty.tar", "a.txt", to="/x/", unpack="auto")
    assert bench.tree() == {"x/text.gz", "x/empty.tar", "x/a.txt"}
    with pytest.raises(CarboyError, match="is not an archive"):
        bench.copy("a.txt", to="/y", unpack="always")


def test_an_archive_does_not_leave_the_root(bench: Bench) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        link = tarfile.TarInfo("way")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../../../../.."
        archive.addfile(link)
        info = tarfile.TarInfo("way/planted")
        archive.addfile(info)
    (bench.context / "evil.tar").write_bytes(out.getvalue())
    bench.copy("evil.tar", to="/x/", unpack="auto")
    assert bench.tree() == {"x/way", "planted"}


def test_single_files(bench: Bench) -> None:
    view = FilesView([SingleFile(name="EOF", mode=0o640, sha256="0" * 64, size_bytes=3, content=b"abc")])
    bench.copy("EOF", to="/x/y", view=view)
    assert bench.tree() == {"x/y"}
    assert bench.mode("x/y") == 0o640


def test_what_is_ignored_is_not_there(bench: Bench) -> None:
    (bench.context / "way").symlink_to("dir/c.txt")
    view = bench.view("dir !dir/sub/d.txt b.txt")
    bench.copy(".", to="/x/", view=view)
    assert bench.tree() == {"x/a.txt", "x/dir/sub/d.txt", "x/way"}
    for path in ("b.txt", "way", "dir/c.txt"):
        with pytest.raises(CarboyError) as caught:
            bench.copy(path, to="/y/", view=view)
        assert "is not in" in caught.value.brief
    bench.copy("*.txt", to="/z/", view=view)
    assert "z/b.txt" not in bench.tree()


def test_a_changed_context_is_noticed(bench: Bench) -> None:
    view = bench.view()
    (one,) = view.select(Source(path="dir"))
    before = view.digest(one)
    assert view.is_still(one, before)
    (bench.context / "dir" / "c.txt").write_text("other")
    assert view.digest(one) == before
    assert not view.is_still(one, before)
    assert view.is_still(one, view.digest(one))


def test_a_file_over_what_the_parent_has(bench: Bench) -> None:
    (bench.parent / "etc").mkdir(mode=0o750)
    (bench.parent / "etc").chmod(0o750)
    (bench.parent / "etc" / "a.txt").write_text("old")
    bench.copy("a.txt", to="/etc/")
    assert bench.seen("/etc/a.txt") == b"a"
    assert bench.mode("etc") == 0o750
