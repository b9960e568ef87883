"""``cp``, ``diff``, ``commit``, ``export`` and ``import``: the files of containers, running or not, in each tier."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from containers import Containers, on_terminal
from small_image import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

WAIT = "while :; do sleep 0.05; done"


@pytest.fixture
def folder(containers: Containers, tmp_path: Path) -> Path:
    """Return a folder of the person's: a file, a program, a folder, a link."""
    person = containers.carboy.person
    place = containers.carboy.temporary / containers.prefix
    (place / "tree" / "sub").mkdir(parents=True)
    (place / "file").write_text("from the host")
    (place / "tree" / "sub" / "leaf").write_text("leaf")
    (place / "tree" / "run").write_text("#!/bin/sh\necho ran\n")
    (place / "tree" / "run").chmod(0o750)
    (place / "tree" / "link").symlink_to("sub/leaf")
    for path in (place, *place.rglob("*")):
        os.chown(path, person.uid, person.gid, follow_symlinks=False)
    return place


@pytest.fixture(params=["running", "stopped"])
def container(request: pytest.FixtureRequest, containers: Containers, folder: Path) -> str:
    """Return a container with a volume, a folder of the host, and one that is read-only."""
    mounts = ("-v", "/volume", "-v", f"{folder}:/host", "-v", f"{folder}:/closed:ro")
    name = containers.sh("files", f"echo ready; {WAIT}", *mounts)
    if request.param == "stopped":
        containers.carboy("stop", "-t", "0", name)
    return name


def look(containers: Containers, name: str, path: str) -> dict[str, tarfile.TarInfo]:
    """Return what ``cp`` says of a path, by name."""
    carboy = containers.carboy
    with carboy.start("cp", f"{name}:{path}", "-", text=False) as process:
        data, errors = process.communicate(timeout=60)  # type: ignore[assignment]
        assert process.returncode == 0, errors
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:  # type: ignore[arg-type]
        return {member.name: member for member in archive}


def test_in_and_out_again(containers: Containers, container: str, folder: Path) -> None:
    carboy = containers.carboy
    carboy("cp", str(folder / "file"), f"{container}:/etc/new")
    for target in ("/root-of-it", "/volume/in", "/host/in"):
        done = carboy("cp", str(folder / "tree"), f"{container}:{target}")
        assert (done.stdout, done.stderr) == ("", f"copied 5 entries to {container}:{target}\n")
        found = look(containers, container, target)
        name = target.rpartition("/")[2]
        assert sorted(found) == [name, f"{name}/link", f"{name}/run", f"{name}/sub", f"{name}/sub/leaf"]
        assert {(member.uid, member.gid) for member in found.values()} == {(0, 0)}
        assert found[f"{name}/run"].mode == 0o750
        assert found[f"{name}/link"].linkname == "sub/leaf"
    assert (folder / "in" / "sub" / "leaf").read_text() == "leaf"
    if carboy.person.tier != "root":
        assert (folder / "in" / "sub" / "leaf").stat().st_uid == carboy.person.uid
    carboy("cp", "-q", f"{container}:/root-of-it/.", str(folder / "back"))
    carboy("cp", f"{container}:/etc/new", str(folder / "back" / "sub"))
    assert (folder / "back" / "sub" / "new").read_text() == "from the host"
    assert os.readlink(folder / "back" / "link") == "sub/leaf"
    for path in (folder / "back").rglob("*"):
        assert (path.lstat().st_uid, path.lstat().st_gid) == (carboy.person.uid, carboy.person.gid)
    carboy("start", container)  # what was copied into one that did not run is there when it does
    assert carboy("exec", container, "sh", "-c", "cat /etc/new; /root-of-it/run; cat /volume/in/link").stdout == (
        "from the hostran\nleaf"
    )


def test_what_goes_where(containers: Containers, container: str, folder: Path) -> None:
    """Docker's rules for missing folders, slashes and links are Docker's (see tests/unit/snapshots for all of them)."""
    carboy = containers.carboy
    refused = [
        (("cp", f"{folder}/file", f"{container}:/missing/"), "there is no folder"),
        (("cp", f"{folder}/file", f"{container}:/missing/file"), "no such file or folder"),
        (("cp", f"{folder}/tree", f"{container}:/etc/passwd"), "is not a folder"),
        (("cp", f"{folder}/none", f"{container}:/"), "no such file or folder"),
        (("cp", f"{container}:/none", str(folder)), "no such file or folder"),
        (("cp", f"{folder}/file", f"{container}:/closed/new"), "ead-only"),
        (("cp", f"{folder}/file", "nobody-s:/new"), "there is no container nobody-s"),
        (("cp", "-", f"{container}:/etc"), "no whole archive"),
        (("cp", "-", f"{container}:/etc/passwd"), "is not a folder"),
    ]
    for words, text in refused:
        done = carboy(*words, expect=1, stdin=subprocess.DEVNULL, input="bad" if words[1] == "-" else None)
        assert text in done.stderr, words
    assert not (folder / "new").exists()
    carboy("cp", f"{container}:/bin/cat", str(folder / "as-link"))
    assert os.readlink(folder / "as-link") == "busybox"
    carboy("cp", "-L", f"{container}:/bin/cat", str(folder / "followed"))
    assert (folder / "followed").stat().st_size > 100_000
    carboy("cp", "-L", f"{folder}/tree/link", f"{container}:/etc/followed")
    assert look(containers, container, "/etc/followed")["followed"].size == 4


def test_owners_are_kept_where_asked(containers: Containers, container: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo("theirs/file")
        member.size, member.uid, member.gid = 2, 7, 8
        archive.addfile(member, io.BytesIO(b"hi"))
    for option, ids in (("-a", (7, 8)), ("-q", (0, 0))):
        with containers.carboy.start(
            "cp", option, "-", f"{container}:/etc", text=False, stdin=subprocess.PIPE
        ) as process:
            _, errors = process.communicate(out.getvalue(), timeout=60)  # type: ignore[arg-type]
            assert process.returncode == 0, errors
        found = look(containers, container, "/etc/theirs/file")["file"]
        assert (found.uid, found.gid) == ((0, 0) if containers.carboy.person.tier == "single" else ids)


def test_links_of_the_container_lead_into_the_container(containers: Containers, folder: Path) -> None:
    script = (
        f"ln -s {folder}/file /bait; ln -s /volume /etc/v; ln -s {folder} /out; mkdir -p {folder}; echo ready; {WAIT}"
    )
    name = containers.sh("links", script, "-v", "/volume")
    containers.wait_logged(name, "ready")
    carboy = containers.carboy
    for _ in range(2):
        assert "no such file" in carboy("cp", "-L", f"{name}:/bait", str(folder / "stolen"), expect=1).stderr
        carboy("cp", str(folder / "tree"), f"{name}:/out/")
        carboy("cp", str(folder / "file"), f"{name}:/etc/v/through")
        assert set(look(containers, name, "/volume/")) >= {"volume/through"}
        assert set(look(containers, name, str(folder))) >= {f"{folder.name}/tree/run"}
        assert sorted(path.name for path in folder.iterdir()) == ["file", "tree"]
        carboy("stop", "-t", "0", name)


def test_mounted_files_are_not_taken_away(containers: Containers, folder: Path) -> None:
    name = containers.sh("mounted", WAIT, "-v", f"{folder}/file:/etc/one")
    carboy = containers.carboy
    for target in ("/etc/hosts", "/etc/one"):
        assert "is a mount" in carboy("cp", str(folder / "tree" / "run"), f"{name}:{target}", expect=1).stderr
    assert carboy("exec", name, "cat", "/etc/one").stdout == "from the host"
    carboy("stop", "-t", "0", name)
    assert "is a mount" in carboy("cp", str(folder / "tree" / "run"), f"{name}:/etc/one", expect=1).stderr
    assert look(containers, name, "/etc/one")["one"].size == 13


def test_a_read_only_root(containers: Containers, folder: Path) -> None:
    name = containers.sh("closed", WAIT, "--read-only", "-v", "/volume", "--tmpfs", "/scratch")
    carboy = containers.carboy
    carboy("cp", str(folder / "file"), f"{name}:/scratch/file")
    assert carboy("exec", name, "cat", "/scratch/file").stdout == "from the host"
    for target in ("running", "stopped"):
        carboy("cp", str(folder / "file"), f"{name}:/volume/{target}")
        assert "ead-only" in carboy("cp", str(folder / "file"), f"{name}:/etc/{target}", expect=1).stderr
        carboy("stop", "-t", "0", name)
    assert set(look(containers, name, "/volume")) == {"volume", "volume/running", "volume/stopped"}


def test_a_container_that_never_ran(containers: Containers, folder: Path) -> None:
    carboy, name = containers.carboy, containers.name("fresh")
    command = "cat /deep/er/volume/file; cat /etc/conf; exit 3"
    carboy("create", "--name", name, "-v", "/deep/er/volume", SMALL, "sh", "-c", command)
    carboy("cp", str(folder / "file"), f"{name}:/deep/er/volume")
    carboy("cp", str(folder / "file"), f"{name}:/etc/conf")
    done = carboy("start", "-a", name, expect=3)
    assert done.stdout == "from the host" * 2


def test_the_kernel_s_own_file_systems_are_no_files_of_a_container(containers: Containers, folder: Path) -> None:
    name = containers.sh("kernel", WAIT)
    for path in ("/proc/new", "/sys/new", "/dev/new"):
        assert (
            "no such file or folder" in containers.carboy("cp", str(folder / "file"), f"{name}:{path}", expect=1).stderr
        )
    assert "no such file" in containers.carboy("cp", f"{name}:/proc/1/environ", str(folder), expect=1).stderr
    found = look(containers, name, "/")
    assert {"bin/busybox", "etc/passwd"} <= set(found)
    assert not {path for path in found if path.startswith(("proc", "sys", "dev"))}


def test_a_paused_container(containers: Containers, folder: Path) -> None:
    name = containers.sh("paused", WAIT)
    carboy = containers.carboy
    carboy("pause", name)
    carboy("cp", str(folder / "file"), f"{name}:/etc/conf")
    carboy("unpause", name)
    assert carboy("exec", name, "cat", "/etc/conf").stdout == "from the host"


def test_a_container_that_starts_again_and_again(containers: Containers, folder: Path) -> None:
    """Its first process has the host's root for a moment at each start: nothing may be read or written there."""
    name = containers.sh("loop", "exit 1", "--restart", "always")
    carboy, marker = containers.carboy, f"/{containers.prefix}-marker"
    for _ in range(8):
        carboy("cp", str(folder / "file"), f"{name}:{marker}", expect=None)
        assert not os.path.exists(marker)
    carboy("stop", "-t", "0", name)


# --- diff and export ----------------------------------------------------------------------------------------------

SCRIPT = (
    "mkdir -p /new/sub; echo 1 > /new/sub/leaf; rm /etc/group; echo 2 >> /etc/passwd; echo 3 > /volume/file; echo ready"
)


@pytest.fixture
def changed(containers: Containers) -> str:
    """Return a running container that has added, changed and deleted something."""
    name = containers.sh("changed", f"{SCRIPT}; {WAIT}", "-v", "/volume")
    containers.wait_logged(name, "ready")
    return name


def test_diff(containers: Containers, changed: str) -> None:
    carboy = containers.carboy
    expected = "C /etc,D /etc/group,C /etc/passwd,A /new,A /new/sub,A /new/sub/leaf,A /volume"
    assert carboy("diff", changed).stdout.splitlines() == expected.split(",")
    carboy("stop", "-t", "0", changed)
    assert carboy("container", "diff", changed).stdout.splitlines() == expected.split(",")
    described = json.loads(carboy("diff", "--json", changed).stdout)
    assert described[:2] == [{"Kind": "C", "Path": "/etc"}, {"Kind": "D", "Path": "/etc/group"}]
    fresh = containers.name("fresh")
    carboy("create", "--name", fresh, SMALL, "true")
    assert carboy("diff", fresh).stdout == ""
    assert "there is no container" in carboy("diff", "nobody-s", expect=1).stderr


def test_export(containers: Containers, changed: str, folder: Path) -> None:
    carboy = containers.carboy
    for _ in range(2):
        carboy("export", "-o", str(folder / "all.tar"), changed)
        with tarfile.open(folder / "all.tar") as archive:
            names = set(archive.getnames())
            leaf = archive.extractfile("new/sub/leaf")
            assert leaf is not None
            assert leaf.read() == b"1\n"
        assert {"bin/busybox", "etc/passwd", "volume"} <= names
        assert not {"etc/group", "volume/file", "etc/hosts"} & names
        with carboy.start("export", changed, text=False) as process:
            data, _ = process.communicate(timeout=60)
        assert data == (folder / "all.tar").read_bytes()  # type: ignore[comparison-overlap]
        carboy("stop", "-t", "0", changed)
    assert (folder / "all.tar").stat().st_uid == carboy.person.uid
    assert (folder / "all.tar").stat().st_mode & 0o777 == 0o600


def test_where_an_export_goes(containers: Containers, changed: str, folder: Path) -> None:
    carboy = containers.carboy
    assert "is a folder" in carboy("export", changed, "-o", str(folder), expect=1).stderr
    assert "no such file" in carboy("export", changed, "-o", str(folder / "none" / "x"), expect=1).stderr
    os.mkfifo(folder / "fifo")
    os.chown(folder / "fifo", carboy.person.uid, carboy.person.gid)
    with carboy.start("export", changed, "-o", str(folder / "fifo")) as process, (folder / "fifo").open("rb") as reader:
        assert len(reader.read()) > 1_000_000
        assert process.wait(30) == 0
    for words in (("export", changed), ("cp", f"{changed}:/etc", "-")):
        with on_terminal(carboy, *words) as terminal:
            terminal.read_until("refusing to write an archive to a terminal")
            assert terminal.wait() == 1


# --- commit and import --------------------------------------------------------------------------------------------


@pytest.fixture
def name(containers: Containers) -> Iterator[str]:
    """Return the name of an image that is removed with the test."""
    yield f"{containers.prefix}:1"
    containers.carboy("rmi", "-f", f"{containers.prefix}:1", expect=None)


def describe(containers: Containers, image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(containers.carboy("inspect", "--type", "image", image).stdout)[0]
    return found


def test_commit(containers: Containers, changed: str, name: str) -> None:
    """What a container wrote is in the image; what it was started with is how the image starts."""
    carboy = containers.carboy
    words = ("-m", "a note", "-a", "me", "-c", "ENV B=$A-2", "--change", 'CMD ["sh", "-c", "ls -R /new; echo $B"]')
    carboy("exec", changed, "sh", "-c", "chown 7:8 /new/sub/leaf" if carboy.person.tier != "single" else "true")
    digest = carboy("commit", *words, changed, name).stdout.strip()
    assert containers.state(changed) == "running"
    described = describe(containers, name)
    assert described["Digest"] == digest
    assert described["History"][-1] == {
        "author": "me", "comment": "a note", "created": described["Created"],
        "created_by": f"sh -c {SCRIPT}; {WAIT}",
    }  # fmt: skip
    base = describe(containers, SMALL)
    assert described["RootFS"]["Layers"][:-1] == base["RootFS"]["Layers"]
    assert described["Config"]["Env"] == ["PATH=/bin", "B=-2"]
    assert carboy("run", "--rm", name).stdout == "/new:\nsub\n\n/new/sub:\nleaf\n-2\n"
    script = "cat /new/sub/leaf; ls /etc/group /volume; stat -c %u:%g /new/sub/leaf"
    done = carboy("run", "--rm", name, "sh", "-c", script, expect=None)
    assert done.stdout.splitlines() == ["1", "/volume:", "0:0" if carboy.person.tier == "single" else "7:8"]
    assert "/etc/group" in done.stderr
    carboy("run", "--rm", digest, "true")


def test_commit_of_one_that_does_not_run(containers: Containers, name: str) -> None:
    carboy, made = containers.carboy, containers.name("made")
    carboy(
        "create",
        "--name",
        made,
        "-e",
        "A=1",
        "-u",
        "1:1",
        "-w",
        "/etc",
        "--label",
        "a=b",
        "--entrypoint",
        "echo",
        SMALL,
        "x",
    )
    digest = carboy("commit", made).stdout.strip()
    config = describe(containers, digest)["Config"]
    assert (config["Entrypoint"], config["Cmd"], config["User"], config["WorkingDir"]) == (
        ["echo"],
        ["x"],
        "1:1",
        "/etc",
    )
    assert (config["Env"], config["Labels"]) == (["PATH=/bin", "A=1"], {"a": "b"})
    assert describe(containers, digest)["RootFS"] == describe(containers, SMALL)["RootFS"]  # it wrote nothing
    assert carboy("run", "--rm", "-u", "0", digest).stdout == "x\n"
    carboy("commit", "-c", 'ENTRYPOINT ["cat"]', made, name)
    assert "Cmd" not in describe(containers, name)["Config"]


def test_who_is_paused_for_a_commit_goes_on(containers: Containers, changed: str) -> None:
    carboy = containers.carboy
    carboy("pause", changed)
    carboy("commit", changed)
    assert containers.state(changed) == "paused"
    carboy("unpause", changed)
    carboy("commit", "--no-pause", changed)
    program = (
        "import os, sys; from carboy.containers.client import hold; held = hold(sys.argv[1]); "
        "print(open(sys.argv[1] + '/state.json').read()); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    home = json.loads(carboy("inspect", changed).stdout)[0]["LogPath"].rpartition("/")[0]
    done = carboy.python(program, home)
    assert (done.returncode, json.loads(done.stdout)["status"]) == (-9, "paused")
    containers.wait_state(changed, "running")


def test_bad_commits(containers: Containers, changed: str) -> None:
    carboy = containers.carboy
    for words, status, text in (
        (("nobody-s",), 1, "there is no container"),
        ((changed, "Not/A:Name"), 1, "is not the name of an image"),
        (("-c", "RUN true", changed), 2, "no valid change"),
        (("-c", "ENV", changed), 2, "requires at least one argument"),
        (("--pause=maybe", changed), 2, "true or false"),
    ):
        assert text in carboy("commit", *words, expect=status).stderr
    assert containers.state(changed) == "running"


def test_export_and_import(containers: Containers, changed: str, folder: Path, name: str) -> None:
    carboy = containers.carboy
    carboy("export", "-o", str(folder / "all.tar"), changed)
    digest = carboy(
        "import", "-c", 'CMD ["cat", "/new/sub/leaf"]', "-c", "ENV PATH=/bin", str(folder / "all.tar"), name
    ).stdout
    assert describe(containers, name)["Digest"] == digest.strip()
    assert describe(containers, name)["History"][-1]["comment"] == f"imported from {folder}/all.tar"
    assert carboy("run", "--rm", name).stdout == "1\n"


def test_bad_imports(small_root_carboy: Carboy) -> None:
    carboy = small_root_carboy
    for text, data in (("is no archive", "bad"), ("is empty", "")):
        assert text in carboy("import", "-", expect=1, input=data).stderr
    assert "no such file" in carboy("import", "/nobody-s/none", expect=1).stderr
    assert "is not fetched" in carboy("import", "https://example.org/x.tar", expect=2).stderr


# --- Python -------------------------------------------------------------------------------------------------------

PROGRAM = """
import io, json, os, sys, tarfile, carboy
folder, prefix = sys.argv[1:]
os.chdir(folder)
seen = {}
volume = carboy.Volume.create(prefix, labels={"a": "b"})
seen["volume"] = [volume in carboy.Volume.list(), dict(volume.labels)]
script = "rm /etc/group; while :; do sleep 0.05; done"
with carboy.run("small:test", ["sh", "-c", script], name=prefix, volumes={prefix: "/data"}) as container:
    seen["in"] = container.copy_in("tree", "/data/tree")
    data = b"".join(container.get_archive("/data/tree"))
    seen["names"] = sorted(tarfile.open(fileobj=io.BytesIO(data)).getnames())
    container.put_archive("/etc", data)
    seen["out"] = container.copy_out("/etc/tree/.", "back")
    seen["diff"] = [(change.kind, change.path) for change in container.diff()]
    digest = container.commit(changes=['CMD ["cat", "/etc/tree/sub/leaf"]'], message="a note")
    seen["exported"] = sum(map(len, container.export())) > 1_000_000
    for call in (lambda: list(container.get_archive("/none")), lambda: container.put_archive("/etc", b"bad"), volume.remove):
        try:
            call()
        except carboy.CarboyError as error:
            seen.setdefault("errors", []).append(error.brief)
    next(container.export())  # whoever wants no more of it may leave
seen["again"] = carboy.run(digest, start=False, name=prefix + "-again").image.endswith(digest)
volume.remove()
print(json.dumps(seen))
"""


def test_from_python(containers: Containers, folder: Path) -> None:
    done = containers.carboy.python(PROGRAM, str(folder), containers.prefix)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["volume"] == [True, {"a": "b"}]
    assert (seen["in"], seen["out"]) == (5, 5)
    assert seen["names"] == ["tree", "tree/link", "tree/run", "tree/sub", "tree/sub/leaf"]
    assert ["D", "/etc/group"] in seen["diff"]
    assert ["A", "/etc/tree/sub/leaf"] in seen["diff"]
    assert (folder / "back" / "sub" / "leaf").read_text() == "leaf"
    assert seen["exported"]
    assert [text.partition(":")[0] for text in seen["errors"]] == [
        "cannot copy '/none' to '-'", "what was given is no whole archive", f"remove {containers.prefix}",
    ]  # fmt: skip
    assert seen["again"]


# --- usage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("a:/x", "b:/x"), "between containers"),
        (("./a", "b"), "must be in a container"),
        (("-", "-"), "must be in a container"),
        (("./a:/x", "./b"), "must be in a container"),
    ],
)
def test_wrong_usage(small_root_carboy: Carboy, words: tuple[str, ...], text: str) -> None:
    assert text in small_root_carboy("cp", *words, expect=2).stderr
