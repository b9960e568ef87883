"""Images for several platforms: built, kept under one name, chosen, run where an emulator is, refused elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from carboy.images.binfmt import find_interpreter, make_header
from carboy.oci.platform import Platform

if TYPE_CHECKING:
    from pathlib import Path

    from dockerfiles import Builder

    from conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.userns]

HERE = Platform.current().architecture
OTHER = "arm64" if HERE == "amd64" else "amd64"
BOTH = f"linux/{HERE},linux/{OTHER}"

# Nothing of the other processor is run: what is built here is copied into an image for there.
CROSS = """FROM --platform=$BUILDPLATFORM small:test AS build
ARG TARGETPLATFORM BUILDPLATFORM TARGETOS TARGETARCH TARGETVARIANT
RUN echo "$BUILDPLATFORM makes $TARGETPLATFORM $TARGETOS $TARGETARCH $TARGETVARIANT" > /made
FROM scratch
COPY --from=build /bin/busybox /bin/busybox
COPY --from=build /made /made
CMD ["/bin/busybox", "cat", "/made"]
"""
no_emulator = pytest.mark.skipif(find_interpreter(OTHER) is not None, reason=f"this machine runs {OTHER}")


def inspect(carboy: Carboy, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(carboy("inspect", name).stdout)[0]
    return found


def test_one_name_for_images_of_two_platforms(builder: Builder) -> None:
    carboy = builder.carboy
    built = builder.build(CROSS, "--platform", BOTH, "-t", "both:1")
    assert any(title.startswith(f"[linux/{OTHER}") for title in built.steps), built.steps
    found = inspect(carboy, "both:1")
    assert found["Digest"] == built.digest
    assert found["Architecture"] == HERE
    manifests = {one["Platform"].split("/")[1]: one["Digest"] for one in found["Manifests"]}  # type: ignore[attr-defined]
    assert set(manifests) == {HERE, OTHER}
    assert "both" in carboy("images").stdout
    here = f"linux/{HERE} makes linux/{HERE} linux {HERE}"
    assert carboy("run", "--rm", "both:1").stdout.rstrip() == here
    assert carboy("run", "--rm", "--platform", f"linux/{HERE}", "both:1").stdout.rstrip() == here
    name = carboy("create", "both:1").stdout.strip()
    assert "is using its referenced image" in carboy("rmi", "both:1", expect=1).stderr
    carboy("rm", name)
    # Clean-up keeps what the index names, and nothing is damaged.
    carboy("system", "prune", "-f", expect=None)
    assert carboy("run", "--rm", "both:1").stdout.rstrip() == here
    assert carboy("system", "check").returncode == 0
    assert builder.build(CROSS, "--platform", BOTH, "-t", "both:2").digest == built.digest
    assert (
        "has nothing for linux/riscv64" in carboy("run", "--rm", "--platform", "riscv64", "both:1", expect=125).stderr
    )
    carboy("rmi", "both:1", "both:2")


def test_from_takes_its_platform_out_of_an_index(builder: Builder) -> None:
    carboy = builder.carboy
    builder.build(CROSS, "--platform", BOTH, "-t", "both:1")
    text = f"FROM --platform=linux/{OTHER} both:1 AS other\nFROM both:1\nCOPY --from=other /made /other\n"
    builder.build(f'{text}CMD ["/bin/busybox", "cat", "/other"]\n', "-t", "mixed:1")
    assert f"makes linux/{OTHER}" in carboy("run", "--rm", "mixed:1").stdout
    assert inspect(carboy, "mixed:1")["Architecture"] == HERE
    builder.build("FROM both:1\nCOPY Dockerfile /\n", "--platform", f"linux/{OTHER}", "-t", "one:1")
    assert inspect(carboy, "one:1")["Architecture"] == OTHER
    carboy("rmi", "both:1", "mixed:1", "one:1")


def test_both_leave_and_come_back(builder: Builder) -> None:
    """save and load, and the outputs of a build: an index is one thing wherever it is."""
    carboy, folder = builder.carboy, builder.folder
    out = folder / "out"
    out.mkdir()
    shutil.chown(out, carboy.person.uid, carboy.person.gid)
    layout = ("--output", f"type=oci,dest={out}/both.tar")
    built = builder.build(CROSS, "--platform", BOTH, "-t", "both:1", "--metadata-file", f"{out}/meta.json")
    metadata = json.loads((out / "meta.json").read_text())
    assert metadata["containerimage.digest"] == built.digest
    carboy("save", "-o", f"{out}/saved.tar", "both:1")
    carboy("rmi", "both:1")
    carboy("system", "prune", "-f", expect=None)
    carboy("load", "-i", f"{out}/saved.tar")
    assert inspect(carboy, "both:1")["Digest"] == built.digest
    assert f"makes linux/{HERE}" in carboy("run", "--rm", "both:1").stdout
    carboy("rmi", "both:1")
    builder.build(CROSS, "--platform", BOTH, "-t", "both:1", *layout)
    carboy("load", "-i", f"{out}/both.tar")
    assert len(inspect(carboy, "both:1")["Manifests"]) == 2  # type: ignore[arg-type]
    builder.build(CROSS, "--platform", BOTH, "--output", f"type=local,dest={out}/files")
    assert f"makes linux/{OTHER}" in (out / "files" / f"linux_{OTHER}" / "made").read_text()
    assert f"makes linux/{HERE}" in (out / "files" / f"linux_{HERE}" / "made").read_text()
    builder.build(CROSS, "--platform", BOTH, "--output", f"type=tar,dest={out}/files.tar")
    with tarfile.open(out / "files.tar") as tar:
        assert {f"linux_{HERE}/made", f"linux_{OTHER}/made"} <= set(tar.getnames())
    said = builder.fail(CROSS, "--platform", BOTH, "--output", f"type=docker,dest={out}/docker.tar")
    assert "type=oci" in said
    carboy("rmi", "both:1")


@no_emulator
def test_what_would_have_to_run_elsewhere_is_refused(builder: Builder) -> None:
    """Before it is begun, with the package that would run it."""
    carboy = builder.carboy
    builder.build(CROSS, "--platform", f"linux/{OTHER}", "-t", "other:1")
    said = carboy("run", "--rm", "other:1", expect=125).stderr
    assert f"the image is for linux/{OTHER}" in said
    assert "qemu-user-static" in said
    done = carboy(*builder.arguments("FROM other:1\nRUN true\n", "--platform", f"linux/{OTHER}"), expect=1)
    assert f"needs programs for linux/{OTHER}" in done.stderr
    assert "Dockerfile:2" in done.stderr
    assert "qemu-user-static" in done.stderr
    base = builder.arguments("FROM debian:bookworm\nCOPY Dockerfile /\n", "--platform", f"linux/{OTHER}")
    done = carboy(*base, expect=1)
    assert f"making debian:bookworm needs programs for linux/{OTHER}" in done.stderr
    carboy("rmi", "other:1")


def test_platforms_that_are_none(builder: Builder) -> None:
    for wrong, says in (
        ("linux/amd64,wrong", "unknown operating system"),
        ("windows/amd64", "carboy builds for Linux"),
    ):
        done = builder.carboy(*builder.arguments("FROM scratch\n", "--platform", wrong), expect=2)
        assert says in done.stderr


def make_interpreter(path: Path) -> None:
    """Write a program that says what it was started with: what an emulator is to the kernel."""
    source = path.with_suffix(".c")
    source.write_text(
        '#include <stdio.h>\nint main(int c, char **v) { for (int i = 1; i < c; i++) printf("%s ", v[i]); puts("emulated"); }\n'
    )
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    subprocess.run([compiler, "-static", "-o", str(path), str(source)], check=True)


def register(header: bytes, emulator: str) -> tuple[str, ...]:
    """Return the words before a command for which programs with this ELF header run by an emulator.

    The registration has a name of this test's own, and is taken back.
    """
    magic = "".join(f"\\x{byte:02x}" for byte in header)
    mask = "".join(f"\\x{byte:02x}" for byte in (*b"\xff" * 7, 0, *b"\xff" * 8, 0xFE, *b"\xff" * 3))
    name = f"carboy-test-{os.getpid()}"
    script = f"""
set -e
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
echo ':{name}:M::{magic}:{mask}:{emulator}:F' > /proc/sys/fs/binfmt_misc/register
trap 'echo -1 > /proc/sys/fs/binfmt_misc/{name}' EXIT
"$@"
"""
    prefix = ("unshare", "-m", "sh", "-c", script, "sh")
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("binfmt_misc cannot be mounted, or written, on this machine")
    return prefix


@pytest.fixture
def prefix() -> tuple[str, ...]:
    """Return the words before a command for which programs for arm64 run by Debian's own emulator."""
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None or HERE == "arm64":
        pytest.skip("qemu-aarch64-static is not installed (Debian: qemu-user-static), or not needed")
    return register(make_header("arm64"), emulator)


@pytest.mark.root
@pytest.mark.long
@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root registers an emulator")
def test_a_base_and_a_step_of_another_processor(carboy: Carboy, prefix: tuple[str, ...], tmp_path: Path) -> None:
    """Debian for arm64, made, configured and used on this machine by Debian's own emulator."""
    (tmp_path / "Dockerfile").write_text("FROM debian:bookworm\nRUN uname -m && dpkg --print-architecture > /made\n")
    carboy("build", "--platform", "linux/arm64", "-t", "foreign:1", str(tmp_path), prefix=prefix, timeout_s=580)
    done = carboy("run", "--rm", "foreign:1", "sh", "-c", "uname -m; cat /made", prefix=prefix)
    assert done.stdout == "aarch64\narm64\n"


@no_emulator
@pytest.mark.root
def test_a_folder_for_another_processor_needs_its_base(small_root_carboy: Carboy, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print(1)\n")
    said = small_root_carboy("build", "--platform", BOTH.split(",")[1], str(tmp_path), expect=1).stderr
    assert f"making its base needs programs for linux/{OTHER}" in said
    assert "qemu-user-static" in said


@pytest.mark.root
@pytest.mark.long
@pytest.mark.network
@pytest.mark.timeout(600)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root registers an emulator")
def test_a_folder_for_two_processors(carboy: Carboy, prefix: tuple[str, ...], tmp_path: Path) -> None:
    """Wheels for arm64 are installed and compiled here; the emulator configures the base, and runs what comes of it."""
    folder = tmp_path / "folder"
    (folder / "own").mkdir(parents=True)
    (folder / "own" / "pyproject.toml").write_text('[project]\nname = "own"\nversion = "1"\n')
    (folder / "own" / "own.py").write_text("NAME = 'own'\n")
    (folder / "requirements.txt").write_text("numpy\n./own\n")
    (folder / "main.py").write_text(
        "import platform, numpy, own\nprint(platform.machine(), numpy.arange(4).sum(), own.NAME)\n"
        "print(numpy.__spec__.cached.endswith('.pyc'))\n"
    )
    built = ("build", "-q", "--platform", BOTH, "-t", "folder:both", str(folder))
    digest = carboy(*built, prefix=prefix, timeout_s=580).stdout
    found = inspect(carboy, "folder:both")
    assert {one["Platform"].split("/")[1] for one in found["Manifests"]} == {"amd64", "arm64"}  # type: ignore[attr-defined]
    run = ("run", "--rm", "--network", "none")
    assert carboy(*run, "folder:both").stdout == "x86_64 6 own\nTrue\n"
    assert carboy(*run, "--platform", "arm64", "folder:both", prefix=prefix).stdout == "aarch64 6 own\nTrue\n"
    # All of it is cached, and nothing needs the emulator any more.
    assert carboy(*built).stdout == digest
    # A package with code of this machine's processor is no package for the other.
    (folder / "own" / "pyproject.toml").unlink()
    (folder / "own" / "setup.py").write_text(
        "from setuptools import setup\nfrom setuptools.dist import Distribution\n"
        "Distribution.has_ext_modules = lambda self: True\nsetup(name='own', version='1', py_modules=['own'])\n"
    )
    said = carboy("build", "--platform", "arm64", str(folder), prefix=prefix, expect=1).stderr
    assert "a package has no wheel for the platform that the image is for" in said


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root registers an emulator")
def test_a_foreign_program_runs_by_an_emulator(small_root_carboy: Carboy, tmp_path: Path) -> None:
    """binfmt_misc with the flag F, of a processor that nobody has here: what an emulator would do, a program of ours says."""
    architecture, machine = "s390x", 22
    if find_interpreter(architecture) is not None:
        pytest.skip(f"this machine runs {architecture}")
    emulator = tmp_path / "emulator"
    make_interpreter(emulator)
    program = b"\x7fELF\x02\x02\x01" + bytes(9) + struct.pack(">HH", 2, machine) + bytes(44)
    context = tmp_path / "context"
    context.mkdir()
    (context / "program").write_bytes(program)
    (context / "program").chmod(0o755)
    (context / "Dockerfile").write_text(
        'FROM scratch AS files\nCOPY program /program\nFROM files\nCMD ["/program", "x"]\n'
    )
    prefix = register(program[:20], str(emulator))
    build = ("build", "--platform", f"linux/{architecture}", "-t", "foreign:1", str(context))
    small_root_carboy(*build, prefix=prefix)
    assert inspect(small_root_carboy, "foreign:1")["Architecture"] == architecture
    done = small_root_carboy("run", "--rm", "foreign:1", prefix=prefix)
    assert done.stdout == "/program x emulated\n"
    said = small_root_carboy("run", "--rm", "foreign:1", expect=None)
    assert said.returncode != 0
