"""The same Dockerfiles by Docker's classic builder and by carboy: the same configuration, the same files.

The Dockerfiles are in tests/projects/dockerfiles; all have one context, which is made here. Where BuildKit, which is the measure,
does another thing than the builder before it, the difference is listed with its reason, and must be there.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import http.server
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from peer_tools import load_peers
from sandboxes import make_busybox_root
from small_image import SMALL, make_small_image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Carboy

pytestmark = [pytest.mark.long, pytest.mark.root, pytest.mark.userns]

CHECKOUT = Path(__file__).resolve().parents[2]
DOCKERFILES = CHECKOUT / "tests" / "projects" / "dockerfiles"
KEYS = (
    "Env", "Cmd", "Entrypoint", "WorkingDir", "User", "ExposedPorts", "Volumes", "Labels", "StopSignal", "Healthcheck",
    "OnBuild", "Shell",
)  # fmt: skip
# What the two put into the root of a container, not of the image.
MADE_BY_RUNTIMES = (".dockerenv", "dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab")
OPTIONS: dict[str, list[str]] = {
    "arguments": ["--build-arg", "given=by hand", "--build-arg", "replaced=yes"],
    "arguments-of-stages": ["--build-arg", "shared=given"],
    "proxies": ["--build-arg", "http_proxy=http://127.0.0.1:1", "--build-arg", "NO_PROXY=localhost"],
    "labels": ["--label", "one=3", "--label", "added=by hand"],
    "target": ["--target", "wanted"],
}
IGNORED = {
    "ignored-files": "# a comment\n*.txt\n!b.txt\nsub/deep\n**/two.*\npack*\n.dockerignore\n",
    "ignored-again": "/sub\n!sub/one\nh*1\nempty/\n*.tar*\n",
}
# Case: {the setting, or the file and what of it: why carboy, as BuildKit, does another thing}.
_SET_USER_ID = "the classic builder sets the owner after the mode, which clears the bit; BuildKit sets the mode last"
_CAPABLE = "the classic builder drops attributes; BuildKit's copies keep them (trap 44)"
_WORKDIR = "WORKDIR's folders are the user's (trap 30)"
_UNPACKED = "--chown is applied to what comes out of an archive, too (trap 48)"
_PACKED = (
    "etc", "etc/packed", "implied/folder/file", "packed", "packed/file", "packed/hard", "packed/link", "packed/program",
)  # fmt: skip
KNOWN: dict[str, dict[str, str]] = {
    "arguments-of-stages": {"/second content": "a stage has the arguments of the stage that it is from (1.4)"},
    "attributes": {"/capable xattrs": _CAPABLE, "/capable-chown xattrs": _CAPABLE},
    "copy-files": {"/modes/set-user-id mode": _SET_USER_ID},
    "copy-folders": {"/everything/set-user-id mode": _SET_USER_ID, "/everything/capable xattrs": _CAPABLE},
    "copy-from-stages": {"/owned/s mode": _SET_USER_ID},
    "copy-owners": {f"/unpacked{name} owner": _UNPACKED for name in ("", *(f"/{member}" for member in _PACKED))},
    "ignored-again": {"/all/set-user-id mode": _SET_USER_ID, "/all/capable xattrs": _CAPABLE},
    "ignored-files": {"/all/set-user-id mode": _SET_USER_ID, "/all/capable xattrs": _CAPABLE},
    "no-health": {"Healthcheck": "the classic builder keeps the other settings of the check that NONE turns off"},
    "run-changes-files": {
        "/context/set-user-id mode": _SET_USER_ID,
        "/context/capable xattrs": _CAPABLE,
        "/fifo": "carboy's layers hold no pipes, devices and sockets: they are left out wherever layers are unpacked",
    },
    "scratch": {"/etc": "Docker makes it for the files that it mounts there"},
    "workdir-of-a-user": {"/made owner": _WORKDIR, "/made/here owner": _WORKDIR},
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of an image, but for its times."""

    kind: bytes
    mode: int
    owner: tuple[int, int]
    content: str
    xattrs: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Peers:
    """Both builders, each with the same base image, and the folder that both build."""

    docker: list[str]
    carboy: Carboy
    context: Path
    port: int

    def call(self, *words: str, **options: Any) -> str:
        environ = {**os.environ, "DOCKER_BUILDKIT": "0"}
        command = [*self.docker, *words]
        done = subprocess.run(command, capture_output=True, check=False, timeout=120, env=environ, **options)
        assert done.returncode == 0, f"{command}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        return done.stdout.decode()


def test_the_same_image(peers: Peers, case: str) -> None:
    text = (DOCKERFILES / f"{case}.Dockerfile").read_text()
    (peers.context / "Dockerfile").write_text(text.replace("@PORT@", str(peers.port)))
    (peers.context / ".dockerignore").write_text(IGNORED.get(case, ".dockerignore\n"))
    words = ["build", "-t", f"peer:{case}", *OPTIONS.get(case, []), str(peers.context)]
    peers.call(words[0], "--network", "none", *words[1:])
    peers.carboy(*words)
    (theirs,) = json.loads(peers.call("image", "inspect", f"peer:{case}"))
    (ours,) = json.loads(peers.carboy("inspect", f"peer:{case}").stdout)
    found = compare_settings(theirs["Config"], ours["Config"])
    found |= compare_files(docker_files(peers, f"peer:{case}"), carboy_files(peers, f"peer:{case}"))
    known = KNOWN.get(case, {})
    unknown = [f"{key}: {text}" for key, text in found.items() if key not in known]
    assert not unknown, "\n".join(unknown)
    assert known.keys() <= found.keys(), "a difference that is listed is none"


def compare_settings(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, str]:
    pairs = {key: (theirs.get(key) or None, ours.get(key) or None) for key in KEYS}
    return {key: f"{a!r} there, {b!r} here" for key, (a, b) in pairs.items() if a != b}


def compare_files(theirs: dict[str, Entry], ours: dict[str, Entry]) -> dict[str, str]:
    found = {}
    for name in sorted(theirs.keys() | ours.keys()):
        a, b = theirs.get(name), ours.get(name)
        if a is None or b is None:
            found[f"/{name}"] = f"{a} there, {b} here"
            continue
        for field in ("kind", "mode", "owner", "content", "xattrs"):
            if getattr(a, field) != getattr(b, field):
                found[f"/{name} {field}"] = f"{getattr(a, field)!r} there, {getattr(b, field)!r} here"
    return found


def docker_files(peers: Peers, image: str) -> dict[str, Entry]:
    container = peers.call("create", image, "nothing").strip()
    done = subprocess.run([*peers.docker, "export", container], capture_output=True, check=True, timeout=60)
    peers.call("rm", "-v", container)
    return read_files(done.stdout)


def carboy_files(peers: Peers, image: str) -> dict[str, Entry]:
    container = peers.carboy("create", image, "nothing").stdout.strip()
    place = peers.context.with_name("ours.tar")
    peers.carboy("export", "-o", str(place), container)
    peers.carboy("rm", "-v", container)
    return read_files(place.read_bytes())


def read_files(archive: bytes) -> dict[str, Entry]:
    """Return the files by name; a hard link is the file that it is."""
    entries: dict[str, Entry] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as stream:
        for member in stream:
            name = member.name.removeprefix("./").strip("/")
            if name in {"", "."} or name.startswith(MADE_BY_RUNTIMES):
                continue
            if member.islnk():
                entries[name] = entries[member.linkname.removeprefix("./").strip("/")]
                continue
            data = stream.extractfile(member).read() if member.isreg() else b""  # type: ignore[union-attr]
            text = data.decode("utf-8", "replace") if len(data) < 200 else hashlib.sha256(data).hexdigest()
            xattrs = {k.removeprefix("SCHILY.xattr."): v for k, v in member.pax_headers.items() if "xattr" in k}
            entries[name] = Entry(
                kind=member.type,
                mode=member.mode & 0o7777,
                owner=(member.uid, member.gid),
                content=member.linkname if member.issym() else text,
                xattrs=tuple(sorted(xattrs.items())),
            )
    return entries


# --- what the classic builder does not know ----------------------------------------------------------------------------

HEREDOCS = """FROM small:test
ENV word=value
COPY --chmod=640 --chown=ana <<one <<-"two" /h/
  $word "quoted" \\$word
one
\ttabs $word
\ttwo
ADD <<named /other
${word:-none}
named
RUN <<A
echo first > /first
echo "$word" >> /first
A
RUN <<"B" cat > /second
$word
B
RUN <<C
#!/bin/cat
script
C
"""
COPIES = """FROM small:test AS build
RUN mkdir -p /out/in && echo f > /out/in/f && chown -R 5:6 /out && ln -s /out /link && chmod 0700 /out/in
FROM small:test
RUN mkdir -m 0700 /mode && mkdir /real && ln -s /real /to
COPY --link --from=build /out /linked/
COPY --link a.txt /mode/
COPY --parents sub/./deep/three sub/one ./empty/ /parents/
COPY --parents --chown=7:8 s*b/t*.md /parents/
COPY --exclude=*.md --exclude=deep sub /excluded
COPY --chmod=600 a.txt /new/folder/
COPY --chmod=u=rwX,go=rX sub /symbolic/
ADD --chmod=4750 a.txt /added
ADD --unpack=false pack.tar /kept.tar
"""
MOUNTS = """FROM small:test AS build
RUN echo built > /built
FROM small:test
RUN --mount=target=/in --mount=type=bind,from=build,source=/built,target=/from-build cat /in/a.txt /from-build > /bound
RUN --mount=target=/rw,rw echo gone > /rw/a.txt && cat /rw/a.txt > /written
RUN --mount=type=cache,target=/kept --mount=type=tmpfs,target=/memory touch /kept/x /memory/y && ls /kept /memory > /seen
RUN --mount=type=secret,id=word --mount=type=secret,id=word,env=WORD cat /run/secrets/word > /secret && echo "$WORD" > /in-env
RUN --mount=type=secret,id=absent [ ! -e /run/secrets/absent ]
RUN --network=none [ ! -e /sys/class/net/eth0 ]
"""
Row = tuple[str, int, tuple[int, int], str]
FOLDER, FILE, LINK = "5", "0", "2"
ROOT = (0, 0)
HEREDOC_FILES: dict[str, Row] = {
    "h": (FOLDER, 0o640, (1000, 1000), ""),  # trap 37
    "h/one": (FILE, 0o640, (1000, 1000), '  value "quoted" $word\n'),
    "h/two": (FILE, 0o640, (1000, 1000), "tabs $word\n"),
    "other": (FILE, 0o644, ROOT, "value\n"),
    "first": (FILE, 0o644, ROOT, "first\nvalue\n"),
    "second": (FILE, 0o644, ROOT, "$word\n"),
}
COPIED_FILES: dict[str, Row] = {
    "mode": (FOLDER, 0o755, ROOT, ""),  # trap 45: the folder of the copy is laid over it
    "mode/a.txt": (FILE, 0o644, ROOT, "a\n"),
    "real": (FOLDER, 0o755, ROOT, ""),
    "to": (LINK, 0o777, ROOT, "/real"),
    "linked": (FOLDER, 0o755, ROOT, ""),
    "linked/in": (FOLDER, 0o700, (5, 6), ""),
    "linked/in/f": (FILE, 0o644, (5, 6), "f\n"),
    "parents": (FOLDER, 0o755, ROOT, ""),
    "parents/deep": (FOLDER, 0o750, ROOT, ""),
    "parents/deep/three": (FILE, 0o644, ROOT, "3\n"),
    "parents/empty": (FOLDER, 0o755, ROOT, ""),
    "parents/sub": (FOLDER, 0o755, (7, 8), ""),
    "parents/sub/one": (FILE, 0o644, ROOT, "1\n"),
    "parents/sub/two.md": (FILE, 0o644, (7, 8), "2\n"),
    "excluded": (FOLDER, 0o755, ROOT, ""),
    "excluded/one": (FILE, 0o644, ROOT, "1\n"),
    "excluded/link": (LINK, 0o777, ROOT, "one"),
    "excluded/dangling": (LINK, 0o777, ROOT, "nowhere"),
    "excluded/up": (LINK, 0o777, ROOT, "../a.txt"),
    "new": (FOLDER, 0o600, ROOT, ""),  # trap 37
    "new/folder": (FOLDER, 0o600, ROOT, ""),
    "new/folder/a.txt": (FILE, 0o600, ROOT, "a\n"),
    "symbolic": (FOLDER, 0o755, ROOT, ""),
    "symbolic/one": (FILE, 0o644, ROOT, "1\n"),
    "symbolic/two.md": (FILE, 0o644, ROOT, "2\n"),
    "symbolic/deep": (FOLDER, 0o755, ROOT, ""),
    "symbolic/deep/three": (FILE, 0o644, ROOT, "3\n"),
    "symbolic/deep/.hidden": (FILE, 0o644, ROOT, "h\n"),
    "symbolic/link": (LINK, 0o777, ROOT, "one"),
    "symbolic/dangling": (LINK, 0o777, ROOT, "nowhere"),
    "symbolic/up": (LINK, 0o777, ROOT, "../a.txt"),
    "added": (FILE, 0o4750, ROOT, "a\n"),
}
MOUNT_FILES: dict[str, Row] = {
    "bound": (FILE, 0o644, ROOT, "a\nbuilt\n"),
    "written": (FILE, 0o644, ROOT, "gone\n"),
    "seen": (FILE, 0o644, ROOT, "/kept:\nx\n\n/memory:\ny\n"),
    "secret": (FILE, 0o644, ROOT, "hush"),
    "in-env": (FILE, 0o644, ROOT, "hush\n"),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(HEREDOCS, HEREDOC_FILES, id="heredocs"),
        pytest.param(COPIES, COPIED_FILES, id="copies"),
        pytest.param(MOUNTS, MOUNT_FILES, id="mounts"),
    ],
)
def test_what_only_buildkit_builds(peers: Peers, text: str, expected: dict[str, Row], tmp_path: Path) -> None:
    (tmp_path / "word").write_text("hush")
    (peers.context / "Dockerfile").write_text(text)
    (peers.context / ".dockerignore").unlink(missing_ok=True)
    secret = f"id=word,src={tmp_path}/word"
    peers.carboy("build", "-t", "peer:more", "--secret", secret, str(peers.context))
    base, built = carboy_files(peers, SMALL), carboy_files(peers, "peer:more")
    kept = built.pop("kept.tar", None)
    assert kept is None or kept.content == hashlib.sha256((peers.context / "pack.tar").read_bytes()).hexdigest()
    more = {name: entry for name, entry in built.items() if base.get(name) != entry}
    found = {name: (e.kind.decode(), e.mode, e.owner, e.content) for name, e in more.items()}
    assert found == expected
    assert base.keys() <= built.keys()


def test_docker_loads_and_runs_what_is_saved(peers: Peers, tmp_path: Path) -> None:
    (peers.context / "Dockerfile").write_text('FROM small:test\nRUN echo here > /word\nCMD ["cat", "/word"]\n')
    peers.carboy("build", "-t", "peer:saved", str(peers.context))
    peers.carboy("save", "-o", str(tmp_path / "saved.tar"), "peer:saved")
    assert "Loaded image: peer:saved" in peers.call("load", "-i", str(tmp_path / "saved.tar"))
    assert peers.call("run", "--rm", "--network", "none", "peer:saved") == "here\n"
    peers.call("save", "-o", str(tmp_path / "back.tar"), "peer:saved")
    assert peers.carboy("load", "-i", str(tmp_path / "back.tar")).stdout == "Loaded image: peer:saved\n"
    assert peers.carboy("run", "--rm", "peer:saved").stdout == "here\n"


@pytest.mark.parametrize("compression", ["", ",compression=gzip"])
def test_docker_loads_and_runs_an_output(peers: Peers, tmp_path: Path, compression: str) -> None:
    (peers.context / "Dockerfile").write_text('FROM small:test\nRUN echo there > /word\nCMD ["cat", "/word"]\n')
    output = f"type=docker,dest={tmp_path}/output.tar{compression}"
    peers.carboy("build", "-t", "peer:output", "-o", output, str(peers.context))
    assert "Loaded image: peer:output" in peers.call("load", "-i", str(tmp_path / "output.tar"))
    assert peers.call("run", "--rm", "--network", "none", "peer:output") == "there\n"


# --- the two sides --------------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", sorted(path.stem for path in DOCKERFILES.glob("*.Dockerfile")))


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """Return the command line of a daemon that has ``small:test``, started for these tests without a bridge."""
    module = load_peers()
    folder = tmp_path_factory.mktemp("docker")
    make_busybox_root(folder / "root")
    subprocess.run(["chmod", "-R", "go+rX", str(folder / "root")], check=True)
    archive = folder / "root.tar"
    command = ["tar", "--owner=0", "--group=0", "--numeric-owner", "-cf", str(archive), "-C", str(folder / "root"), "."]
    subprocess.run(command, check=True)
    with ExitStack() as stack:
        try:
            daemon = stack.enter_context(module.open_dockerd(folder / "daemon", archive, bridge=False))
        except module.PeerError as error:
            pytest.skip(str(error))
        changes = ["--change", "ENV PATH=/bin", "--change", 'CMD ["sh"]']
        subprocess.run([*daemon.client, "import", *changes, str(archive), SMALL], check=True, capture_output=True)
        yield daemon.client


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a folder with a file of each kind."""
    folder = tmp_path_factory.mktemp("peers") / "context"
    folder.mkdir()
    make_context(folder)
    yield folder
    shutil.rmtree(folder)


def make_context(folder: Path) -> None:
    texts = {
        "a.txt": "a\n", "b.txt": "b\n", "with space.txt": "blank\n", "script.sh": "#!/bin/sh\necho hello\n",
        "set-user-id": "x", "read-only": "r", "hard1": "hard\n", "capable": "c\n", "sub/one": "1\n", "sub/two.md": "2\n",
        "sub/deep/three": "3\n", "sub/deep/.hidden": "h\n",
    }  # fmt: skip
    for name in ("sub/deep", "empty", "files"):
        (folder / name).mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
    modes = {"script.sh": 0o755, "set-user-id": 0o4755, "read-only": 0o400, "sub": 0o755, "sub/deep": 0o750}
    for path in (folder, *folder.rglob("*")):
        name = str(path.relative_to(folder))
        path.chmod(modes.get(name, 0o755 if path.is_dir() else 0o644))
    os.link(folder / "hard1", folder / "hard2")
    os.chown(folder / "b.txt", 1234, 4321)  # both make it root's
    links = {"link": "a.txt", "to-sub": "sub", "sub/link": "one", "sub/dangling": "nowhere", "sub/up": "../a.txt"}
    for name, target in links.items():
        (folder / name).symlink_to(target)
    # CAP_NET_RAW, permitted and effective, of version 2: capabilities(7), linux/capability.h
    os.setxattr(folder / "capable", "security.capability", bytes.fromhex("0100000200200000000000000000000000000000"))
    packed = pack()
    archives = {
        "pack.tar": packed, "pack.tar.gz": gzip.compress(packed, mtime=0), "pack.tar.bz2": bz2.compress(packed),
        "pack.tar.xz": lzma.compress(packed), "disguised.txt": gzip.compress(packed, mtime=0),
        "not-a-tar.gz": gzip.compress(b"text\n", mtime=0), "files/page.txt": b"page\n",
        "files/pack.tar.gz": gzip.compress(packed, mtime=0),
    }  # fmt: skip
    for name, data in archives.items():
        (folder / name).write_bytes(data)
        (folder / name).chmod(0o644)


def pack() -> bytes:
    """Return an archive with folders, owners, modes and links."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as stream:
        for name, kind, mode, owner, text in (
            ("packed", tarfile.DIRTYPE, 0o750, (5, 6), ""),
            ("packed/file", tarfile.REGTYPE, 0o640, (1000, 1000), "packed\n"),
            ("packed/program", tarfile.REGTYPE, 0o4755, (0, 0), "#!/bin/sh\n"),
            ("packed/link", tarfile.SYMTYPE, 0o777, (0, 0), "file"),
            ("packed/hard", tarfile.LNKTYPE, 0o640, (1000, 1000), "packed/file"),
            ("implied/folder/file", tarfile.REGTYPE, 0o644, (7, 8), "implied\n"),
            ("etc", tarfile.DIRTYPE, 0o755, (0, 0), ""),
            ("etc/packed", tarfile.REGTYPE, 0o600, (0, 0), "secret\n"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.mode, (member.uid, member.gid) = kind, mode, owner
            data = text.encode() if kind == tarfile.REGTYPE else b""
            member.linkname = "" if data else text
            member.size = len(data)
            stream.addfile(member, io.BytesIO(data))
    return out.getvalue()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def port(context: Path) -> Iterator[int]:
    """Return the port of 127.0.0.1 at which the context's files can be fetched."""

    def handler(*args: Any) -> _Quiet:
        return _Quiet(*args, directory=str(context))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def peers(docker: list[str], tier_carboy: Carboy, context: Path, port: int) -> Peers:
    """Return both sides."""
    if tier_carboy.person.tier != "root":
        pytest.skip("the daemon is root's")
    make_small_image(tier_carboy)
    return Peers(docker, tier_carboy, context, port)
