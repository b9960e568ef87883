"""What uv installed, divided into the trees of layers: with uv's part played by files that are there already."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from carboy.environments import divide_step

SITE = "lib/python3.11/site-packages"
UV = """#!/usr/bin/env python3
import os, shutil, sys
words = sys.argv[1:]
with open("asked", "a") as file:
    print("offline" if "--offline" in words else "online", file=file)
if "--offline" in words and os.path.exists("nothing-fetched"):
    sys.exit("it is not in the cache")
lines = [line.split("==")[0] for line in open(words[words.index("-r") + 1])]
target = words[words.index("--prefix") + 1] if "--prefix" in words else os.environ["ENVIRONMENT"]
for line in lines:
    shutil.copytree(os.path.join(os.environ["PACKAGES"], line), target, dirs_exist_ok=True, symlinks=True)
"""


class Place:
    """A folder with packages that a pretended uv installs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment, self.layers, self.packages = folder / "env", folder / "layers", folder / "packages"
        (self.environment / "bin").mkdir(parents=True)
        (self.environment / "bin" / "python").symlink_to("/usr/bin/python3")
        (folder / "uv").write_text(UV)
        (folder / "uv").chmod(0o755)

    def package(self, name: str, files: dict[str, str], *, record: list[str] | None = None) -> str:
        """Write a package and return its line of requirements."""
        root = self.packages / name
        info = f"{SITE}/{name}-1.dist-info"
        for path, text in {**files, f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\n"}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        paths = [*files, f"{info}/METADATA", f"{info}/RECORD"] if record is None else record
        lines = (f"{os.path.relpath(path, SITE)},," for path in paths)
        (root / info / "RECORD").write_text("\n".join(lines) + "\n")
        return f"{name}==1 --hash=sha256:{'a' * 64}"

    def divide(
        self,
        groups: list[list[str]],
        *,
        expect: int = 0,
        limit: int = 10**9,
        addresses: dict[str, str] | None = None,
        first: str = "",
        platform: str = "",
    ) -> str:
        (self.folder / "groups.json").write_text(json.dumps(groups))
        (self.folder / "addresses.json").write_text(json.dumps(addresses or {}))
        (self.folder / "missing.txt").write_text("".join(f"{line}\n" for group in groups for line in group))
        done = subprocess.run(
            [
                sys.executable,
                divide_step.__file__,
                self.environment,
                self.layers,
                self.folder / "uv",
                str(limit),
                first,
                platform,
            ],
            cwd=self.folder,
            env={
                **os.environ,
                "PACKAGES": str(self.packages),
                "ENVIRONMENT": str(self.environment),
                "TMPDIR": str(self.folder),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stderr
        return done.stderr

    def files(self, tree: str) -> dict[str, str]:
        """Return the files of a layer with their texts, compiled ones by their hash."""
        root = self.layers / tree
        return {
            str(path.relative_to(root)): path.read_text()
            if path.suffix != ".pyc"
            else hashlib.sha256(path.read_bytes()).hexdigest()
            for path in root.rglob("*")
            if path.is_file() and not path.is_symlink()
        }


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_each_package_gets_the_files_that_it_names(place: Place) -> None:
    one = place.package("one", {f"{SITE}/one/__init__.py": "x = 1\n", "bin/one": "#!python\n", "share/one.txt": "data"})
    two = place.package("two", {f"{SITE}/two.py": "y = 2\n"})
    place.divide([[one], [two]])
    names = {name for name in place.files("0") if "dist-info" not in name}
    assert names >= {f"{SITE}/one/__init__.py", "bin/one", "share/one.txt"}
    cache = importlib.util.cache_from_source("two.py")
    assert {name for name in place.files("1") if "dist-info" not in name} == {f"{SITE}/two.py", f"{SITE}/{cache}"}
    assert not place.files("venv")
    assert os.readlink(place.layers / "venv" / "bin" / "python") == "/usr/bin/python3"


def test_a_package_notes_the_address_that_a_file_stood_in_for(tmp_path: Path) -> None:
    def make(name: str, url: str, addresses: dict[str, str]) -> dict[str, str]:
        (tmp_path / name).mkdir()
        place = Place(tmp_path / name)
        note = json.dumps(
            {"url": url, "archive_info": {}, "subdirectory": "ü"}, separators=(",", ":"), ensure_ascii=False
        )
        digest = base64.urlsafe_b64encode(hashlib.sha256(note.encode()).digest()).decode().rstrip("=")
        one = place.package("one", {f"{SITE}/one.py": "", f"{SITE}/one-1.dist-info/direct_url.json": note})
        record = place.packages / "one" / SITE / "one-1.dist-info" / "RECORD"
        text = record.read_text().replace("direct_url.json,,", f"direct_url.json,sha256={digest},{len(note.encode())}")
        record.write_text(text)
        place.divide([[one]], addresses=addresses)
        return {name: text for name, text in place.files("0").items() if "dist-info" in name}

    local, far = "file:///run/carboy/packages/one.zip", "https://example.org/one.zip"
    assert make("offline", local, {local: far, "file:///other": "https://example.org/other"}) == make("online", far, {})


def test_a_layer_does_not_depend_on_what_is_beside_it(tmp_path: Path) -> None:
    def make(place: Place) -> tuple[str, str]:
        same = f"{SITE}/shared/__init__.py"
        one = place.package("one", {same: "a = 'one'\n", f"{SITE}/shared/one.py": "one = 1\n"})
        two = place.package("two", {same: "a = 'two'\n", f"{SITE}/shared/two.py": "two = 2\n"})
        return one, two

    (tmp_path / "both").mkdir()
    (tmp_path / "single").mkdir()
    both, single = Place(tmp_path / "both"), Place(tmp_path / "single")
    one, two = make(both)
    both.divide([[one], [two]])
    make(single)
    single.divide([[one]])

    def texts(place: Place) -> dict[str, str]:  # compiled files name where they will lie, which differs in this test
        return {name: text for name, text in place.files("0").items() if not name.endswith(".pyc")}

    assert texts(both) == texts(single)
    assert both.files("0")[f"{SITE}/shared/__init__.py"] == "a = 'one'\n"
    assert both.files("1")[f"{SITE}/shared/__init__.py"] == "a = 'two'\n"


def test_in_a_layer_that_two_share_the_later_name_wins(place: Place) -> None:
    same = f"{SITE}/shared.py"
    place.divide([[place.package("one", {same: "1\n"}), place.package("two", {same: "2\n"})]])
    assert place.files("0")[same] == "2\n"


def test_a_record_that_points_elsewhere_is_refused(place: Place) -> None:
    bad = place.package("bad", {f"{SITE}/bad.py": ""}, record=[f"{SITE}/bad.py", "../../etc/passwd"])
    assert "names a file outside of the environment" in place.divide([[bad]], expect=1)


def test_a_file_that_no_record_names_goes_with_its_package(place: Place) -> None:
    info = f"{SITE}/odd-1.dist-info"
    odd = place.package("odd", {f"{SITE}/odd.py": "x\n"}, record=[f"{info}/METADATA", f"{info}/RECORD"])
    plain = place.package("plain", {f"{SITE}/plain.py": "y\n"})
    place.divide([[plain], [odd]])
    assert place.files("1")[f"{SITE}/odd.py"] == "x\n"
    assert f"{SITE}/odd.py" not in place.files("0")


def test_what_is_too_large_is_cut_between_files(place: Place) -> None:
    files = {f"{SITE}/{name}.txt": name * 1000 for name in "abc"}
    large, small = place.package("large", files), place.package("small", {f"{SITE}/small.txt": "x"})
    place.divide([[large], [small]], limit=2100)
    trees = sorted(path.name for path in place.layers.iterdir())
    assert trees == ["0", "0.1", "1", "venv"]
    assert {**place.files("0"), **place.files("0.1")}.items() >= files.items()
    assert not set(place.files("0")) & set(place.files("0.1"))
    sizes = [sum(len(text) for text in place.files(tree).values()) for tree in ("0", "0.1")]
    assert max(sizes) <= 2100


def test_an_installer_that_fails_ends_the_step(place: Place) -> None:
    place.divide([["missing==1"]], expect=1)


def test_compiled_files_hold_no_time_and_the_path_where_they_will_lie(place: Place) -> None:
    one = place.package("one", {f"{SITE}/one.py": "def f():\n    return 1\n"})
    place.divide([[one]])
    data = (place.layers / "0" / SITE / importlib.util.cache_from_source("one.py")).read_bytes()
    assert int.from_bytes(data[4:8], "little") == 1  # PEP 552: by hash, never checked
    assert os.fsencode(place.environment / SITE / "one.py") in data


def test_the_same_wheel_makes_the_same_record_wherever_it_was(tmp_path: Path) -> None:
    record = tmp_path / "RECORD"
    lines = 'a.py,sha256=x,1\r\n"b,c.py",,\r\n'
    record.write_bytes((lines + "a.dist-info/uv_cache.json,sha256=y,119\r\n").encode())
    divide_step.forget_notes(str(record))
    assert record.read_bytes() == lines.encode()


def test_what_uv_links_is_copied_and_other_links_stay(place: Place) -> None:
    one = place.package("one", {f"{SITE}/one/data.txt": "", f"{SITE}/one/other": "", f"{SITE}/one/code.py": ""})
    cache = place.folder / "cache"
    cache.mkdir()
    for name, text in {"data.txt": "of the cache\n", "code.py": "x = 1\n"}.items():
        (cache / name).write_text(text)
        (cache / name).chmod(0o755)
        (place.packages / "one" / SITE / "one" / name).unlink()
        (place.packages / "one" / SITE / "one" / name).symlink_to(cache / name)
    (place.packages / "one" / SITE / "one" / "other").unlink()
    (place.packages / "one" / SITE / "one" / "other").symlink_to("nothing")
    place.divide([[one]])
    made = place.layers / "0" / SITE / "one"
    assert {path.name: path.is_symlink() for path in made.iterdir() if path.is_symlink()} == {"other": True}
    assert (made / "data.txt").read_text() == "of the cache\n"
    assert (made / "data.txt").stat().st_mode & 0o777 == (made / "code.py").stat().st_mode & 0o777 == 0o755
    compiled = made / importlib.util.cache_from_source("code.py")
    assert compiled.stat().st_mode & 0o777 == 0o644
    assert (cache / "data.txt").stat().st_nlink == 1


def test_tests_and_what_cannot_be_compiled_are_left_as_they_are(place: Place) -> None:
    one = place.package(
        "one", {f"{SITE}/one/code.py": "x\n", f"{SITE}/one/tests/a.py": "y\n", f"{SITE}/one/bad.py": "(\n"}
    )
    place.divide([[one]])
    assert [path.name.partition(".")[0] for path in (place.layers / "0").rglob("*.pyc")] == ["code"]
    assert place.files("0")[f"{SITE}/one/tests/a.py"] == "y\n"
    assert place.files("0")[f"{SITE}/one/bad.py"] == "(\n"


def test_what_an_author_compiled_is_compiled_here(place: Place) -> None:
    cache = importlib.util.cache_from_source("one.py")
    other = f"{SITE}/__pycache__/other.cpython-311.pyc"
    place.divide([[place.package("one", {f"{SITE}/one.py": "x\n", f"{SITE}/{cache}": "theirs", other: "theirs"})]])
    assert (place.layers / "0" / SITE / cache).read_bytes()[:4] == importlib.util.MAGIC_NUMBER
    assert not (place.layers / "0" / other).exists()


@pytest.mark.parametrize("fetched", [True, False])
def test_an_index_is_asked_for_what_was_not_fetched_before_alone(place: Place, fetched: bool) -> None:
    one = place.package("one", {f"{SITE}/one.py": "x = 1\n"})
    if not fetched:
        (place.folder / "nothing-fetched").touch()
    said = place.divide([[one]], first="--offline")
    assert (place.folder / "asked").read_text().split() == (["offline"] if fetched else ["offline", "online"])
    assert f"{SITE}/one.py" in place.files("0")
    assert said == ""
