"""Debian packages above a base: what is resolved, divided and written into dpkg's status."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from archives import index_of, make_ubuntu, serve

from carboy.base.home import open_home
from carboy.bootstrap.added.archive import open_archive
from carboy.bootstrap.added.development import find_runtimes
from carboy.bootstrap.added.installed import extend_status, only_brings_files, parse_interests, parse_status
from carboy.bootstrap.added.layers import plan_batches, plan_install
from carboy.bootstrap.archive import ArchiveSettings, read_archive_config
from carboy.bootstrap.deb import configure
from carboy.bootstrap.deb.database import Unpacked
from carboy.bootstrap.deb.resolve import resolve_above
from carboy.bootstrap.errors import NotFetchedError, ResolveError
from carboy.bootstrap.layer import Making
from carboy.bootstrap.progress import Silence
from carboy.bootstrap.recipe import parse_recipe
from carboy.bootstrap.snapshot import Snapshot
from carboy.build.r_layers import divide_packages

if TYPE_CHECKING:
    from pathlib import Path

STATUS = """\
Package: base
Status: install ok installed
Architecture: amd64
Version: 1.0
Provides: r-api-4.0

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1.0
"""


def test_only_what_is_not_installed_is_added() -> None:
    index = index_of(
        "base 1.0",
        "r-cran-a 1; Depends: base, r-api-4.0, r-cran-b (>= 2), liba",
        "r-cran-b 2; Depends: base",
        "liba 1; Depends: base",
    )
    installed = parse_status(STATUS)
    assert [package.name for package in installed] == ["base"]
    added = resolve_above(index, ["r-cran-a", "base"], installed=installed)
    assert sorted(package.name for package in added) == ["liba", "r-cran-a", "r-cran-b"]
    assert [package.name for package in added][-1] == "r-cran-a"


def test_what_is_installed_stays_as_it_is() -> None:
    index = index_of("base 2.0", "new 1; Depends: base (>= 2.0)")
    with pytest.raises(ResolveError) as caught:
        resolve_above(index, ["new"], installed=parse_status(STATUS))
    assert "base (>= 2.0)" in caught.value.details
    assert "1.0" in caught.value.details


def test_packages_are_divided_by_who_has_to_install_them() -> None:
    index = index_of(
        "liba 1",
        "libb 1",
        "r-cran-a 1; Depends: liba, littler",
        "littler 1; Depends: r-cran-a",
        "fonts 1; Depends: libc-virtual",
        "libc 1; Provides: libc-virtual",
    )
    packages = resolve_above(index, ["r-cran-a", "fonts", "libb"], installed=())
    below, own = divide_packages(packages, {"liba", "libb", "r-cran-a", "littler", "libc"})
    assert sorted(package.name for package in below) == ["fonts", "libc"]
    assert sorted(package.name for package in own) == ["liba", "libb", "littler", "r-cran-a"]
    below, own = divide_packages(packages, {"liba", "libb", "r-cran-a", "libc", "fonts"})
    assert sorted(package.name for package in below) == ["liba", "littler", "r-cran-a"]


def test_dpkg_installs_what_must_be_configured_first_in_a_part_of_its_own() -> None:
    index = index_of("a 1", "b 1; Depends: a", "c 1; Pre-Depends: b", "d 1; Depends: c")
    packages = resolve_above(index, ["d"], installed=())
    batches = plan_batches(packages)
    assert [[package.name for package in batch] for batch in batches] == [["a", "b"], ["c", "d"]]
    lines = [line for line in plan_install(batches).splitlines() if line.startswith("dpkg ")]
    assert len(lines) == 2
    assert lines[0].endswith(f"/run/carboy/archives/{packages[0].sha256} /run/carboy/archives/{packages[1].sha256}")


def test_the_status_file_names_what_was_added() -> None:
    text = extend_status(
        STATUS, ["Package: z\nStatus: install ok installed\n", "Package: y\nStatus: install ok installed\n"]
    )
    assert [package.name for package in parse_status(text)] == ["base", "y", "z"]
    assert text.endswith("\n")
    assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("control", "plain"),
    [
        ({}, True),
        ({"md5sums": b"0" * 32 + b"  usr/lib/x.so\n", "prerm": b"#!/bin/sh\necho\n"}, True),
        (
            {
                "postinst": b"#!/bin/sh\n# dh\nset -e\n"
                b'dpkg-maintscript-helper symlink_to_dir /a /b 1 \\\n  name -- "$@"\nexit 0\n',
                "preinst": b"#!/bin/sh\nset -e\n\n",
            },
            True,
        ),
        ({"postinst": b"#!/bin/sh\nset -e\nupdate-alternatives --install a b c 1\n"}, False),
        ({"preinst": b'#!/bin/sh\ndpkg-maintscript-helper rm_conffile /a -- "$@"; rm -rf /\n'}, False),
        ({"triggers": b"# by dh\nactivate-noawait ldconfig\n"}, True),
        ({"triggers": b"activate-noawait update-icons\n"}, False),
        ({"triggers": b"interest-noawait /usr/share/x\n"}, False),
        ({"md5sums": b"0" * 32 + b"  usr/share/fonts/truetype/a.ttf\n"}, False),
        ({"md5sums": b"0" * 32 + b"  etc/ld.so.conf.d/a.conf\n"}, False),
    ],
)
def test_what_only_brings_files_is_seen(control: dict[str, bytes], *, plain: bool) -> None:
    interests = parse_interests("/usr/share/fonts fontconfig\n/usr/share/fonts other/noawait\n")
    assert interests == ("/usr/share/fonts",)
    assert only_brings_files(control, interests=interests) == plain


def test_libraries_follow_from_what_is_compiled_with() -> None:
    index = index_of(
        "libxml2-dev 2.9; Depends: libicu-dev, libxml2 (= 2.9), zlib1g (>= 1), libother-dev (= 2.9), a (= 1) | b",
        "libxml2 2.9",
    )
    assert find_runtimes(index, ["libxml2-dev", "unknown-dev"]) == ("libxml2",)


def test_keys_and_databases_of_nobodys_are_left_out() -> None:
    """What scripts make by chance would be another in each build, and the same in all containers of an image."""

    def plan(*names: str) -> str:
        more = {"version": "1", "architecture": "all", "multi_arch": "", "control": {}, "names": (), "digests": {}}
        return configure.plan_script([Unpacked(name=name, **more) for name in names])  # type: ignore[arg-type]

    script = plan("dpkg", "ssl-cert", "postgresql-common")
    assert script.index("create_main_cluster = false") < script.index("dpkg --force-unsafe-io")
    assert "/etc/ssl/private/ssl-cert-snakeoil.key" in script
    assert "/etc/ssh/ssh_host_*_key*" in script
    assert "create_main_cluster" not in plan("dpkg", "ssl-cert")


def test_an_archive_is_read_as_it_was(tmp_path: Path) -> None:
    """Of a snapshot, whose texts are kept; where they are not, that is said, and nobody is asked."""
    (tmp_path / "ubuntu").mkdir()
    ubuntu = make_ubuntu(tmp_path / "ubuntu")
    recipe = parse_recipe("ubuntu:noble", architecture="amd64")
    with serve(ubuntu.folder) as address:
        settings = ArchiveSettings(keyrings=(str(ubuntu.keyring),))
        config = read_archive_config({"no_proxy": "127.0.0.1"}, recipe=recipe, mirror=address, settings=settings)
        making = Making(
            recipe=recipe,
            archive=config,
            store=None,  # type: ignore[arg-type]
            home=open_home(str(tmp_path / "home")),
            runtime=None,  # type: ignore[arg-type]
            tier=None,  # type: ignore[arg-type]
            progress=Silence(),
        )

        def read(snapshot: Snapshot | None) -> str:
            with open_archive(replace(making, snapshot=snapshot)) as archive:
                found = archive.read_index().find("tool")
                assert found is not None
                return found.version

        before = read(None)
        texts = {
            folder.name: hashlib.sha256((folder / "InRelease").read_bytes()).hexdigest()
            for folder in (ubuntu.folder / "dists").iterdir()
        }
        ubuntu.add("tool", {}, Version="99.0")
        ubuntu.publish()
        assert read(None) == "99.0"
        assert read(Snapshot(texts=texts)) == before
        with pytest.raises(NotFetchedError):
            read(Snapshot(texts=dict.fromkeys(texts, "0" * 64)))
