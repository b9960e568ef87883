"""Fetching from channels that are folders, and from servers that behave badly."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from archives import serve_by
from conda_channel import SUBDIR, CondaChannel, File

from carboy.base.web import WebSettings
from carboy.environments.conda.fetch import ChannelFetcher
from carboy.environments.conda.wants import CondaPackage, make_package
from carboy.errors import CarboyError

pytestmark = pytest.mark.slow
Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def serve(answer: Callable[[BaseHTTPRequestHandler], Answer]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serve_by(Handler) as address:
        yield address


@pytest.fixture
def channel(tmp_path: Path) -> CondaChannel:
    found = CondaChannel(tmp_path / "channel")
    found.add("a", "1.0", {"bin/a": File(b"a")})
    found.add("b", "1.0", {"share/b": File(b"b")}, noarch="generic")
    found.write()
    return found


def package_of(channel: CondaChannel, sha256: str = "") -> CondaPackage:
    record = channel.records[SUBDIR]["a-1.0-0.conda"]
    return make_package(channel="c", path=f"{SUBDIR}/a-1.0-0.conda", sha256=sha256 or record["sha256"], where="test")


def fetcher(tmp_path: Path, address: str) -> ChannelFetcher:
    return ChannelFetcher({"c": address}, web=WebSettings(), cache_dir=str(tmp_path / "cache"), sleep=lambda _: None)


def files_in(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache").rglob("*") if path.is_file())


def test_a_channel_in_a_folder(tmp_path: Path, channel: CondaChannel) -> None:
    fetch = fetcher(tmp_path, channel.address)
    lists = fetch.fetch_lists(["c"], [SUBDIR, "noarch"])
    assert [(name, subdir) for name, subdir, _ in lists] == [("c", SUBDIR), ("c", "noarch")]
    assert '"a-1.0-0.conda"' in Path(lists[0][2]).read_text()
    package = package_of(channel)
    path = fetch.fetch_packages([package])[package.sha256]
    assert Path(path).read_bytes() == (channel.root / package.path).read_bytes()
    (channel.root / package.path).unlink()
    assert fetch.fetch_packages([package]) == {package.sha256: path}
    Path(path).write_bytes(b"rotten")
    with pytest.raises(CarboyError, match="the channel c has no"):
        fetch.fetch_packages([package])
    assert package.sha256 not in files_in(tmp_path)


def test_a_list_is_sent_again_only_when_it_changed(tmp_path: Path, channel: CondaChannel) -> None:
    channel.write(compressed=True)
    asked: list[tuple[str, int]] = []

    def answer(request: BaseHTTPRequestHandler) -> Answer:
        file = channel.root / request.path.lstrip("/")
        known = request.headers.get("If-None-Match")
        status = 304 if known == '"1"' else 200 if file.suffix == ".zst" else 404
        asked.append((request.path, status))
        return status, {"ETag": '"1"'}, file.read_bytes() if status == 200 else b""

    with serve(answer) as address:
        first = fetcher(tmp_path, address).fetch_lists(["c"], [SUBDIR, "noarch"])
        text = Path(first[0][2]).read_text()
        assert fetcher(tmp_path, address).fetch_lists(["c"], [SUBDIR, "noarch"]) == first
    assert [status for _, status in asked] == [200, 200, 304, 304]
    assert Path(first[0][2]).read_text() == text
    assert '"a-1.0-0.conda"' in text
    assert not [name for name in files_in(tmp_path) if name.endswith((".part", ".new"))]


@pytest.mark.parametrize(
    ("status", "brief", "hint"),
    [
        (401, "asks for a login", "USER:PASSWORD"),
        (403, "asks for a login", "USER:PASSWORD"),
        (404, "there is no channel c", "config.toml"),
        (500, "cannot be reached", "mirror"),
        (302, "cannot be reached", "mirror"),
    ],
)
def test_a_channel_that_gives_nothing(tmp_path: Path, status: int, brief: str, hint: str) -> None:
    with serve(lambda _: (status, {}, b"")) as address, pytest.raises(CarboyError, match=brief) as caught:
        fetcher(tmp_path, address.replace("://", "://me:secret@")).fetch_lists(["c"], [SUBDIR, "noarch"])
    assert hint in caught.value.hint
    assert "secret" not in str(caught.value) + caught.value.details
    assert files_in(tmp_path) == []


def test_a_channel_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CarboyError, match="the channel c cannot be reached"):
        fetcher(tmp_path, "http://127.0.0.1:1/c").fetch_lists(["c"], ["noarch"])
    with pytest.raises(CarboyError, match="there is no channel c"):
        fetcher(tmp_path, f"file://{tmp_path}/nothing").fetch_lists(["c"], ["noarch"])


def test_a_package_with_another_hash_is_refused_and_not_kept(tmp_path: Path, channel: CondaChannel) -> None:
    with pytest.raises(CarboyError, match="its hash is another one") as caught:
        fetcher(tmp_path, channel.address).fetch_packages([package_of(channel, "0" * 64)])
    assert "expected sha256 000" in caught.value.details
    assert files_in(tmp_path) == []


def test_a_server_that_hangs_up_is_asked_again(tmp_path: Path, channel: CondaChannel) -> None:
    package = package_of(channel)
    data = (channel.root / package.path).read_bytes()
    count = 0

    def answer(_: BaseHTTPRequestHandler) -> Answer:
        nonlocal count
        count += 1
        return (503, {}, b"") if count == 1 else (200, {}, data)

    with serve(answer) as address:
        path = fetcher(tmp_path, address).fetch_packages([package])[package.sha256]
    assert Path(path).read_bytes() == data
    assert count == 2


def test_what_a_killed_process_left_is_written_over(tmp_path: Path, channel: CondaChannel) -> None:
    package = package_of(channel)
    folder = tmp_path / "cache" / "packages"
    folder.mkdir(parents=True)
    (folder / f"{package.sha256}.part").write_bytes(b"x" * 100_000)
    path = fetcher(tmp_path, channel.address).fetch_packages([package])[package.sha256]
    assert Path(path).read_bytes() == (channel.root / package.path).read_bytes()
    assert files_in(tmp_path) == [package.sha256]


def test_several_at_once_share_what_is_fetched(tmp_path: Path, channel: CondaChannel) -> None:
    package, paths = package_of(channel), []

    def fetch() -> None:
        paths.append(fetcher(tmp_path, channel.address).fetch_packages([package])[package.sha256])

    threads = [threading.Thread(target=fetch) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 6
    assert files_in(tmp_path) == [package.sha256]
