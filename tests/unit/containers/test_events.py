import os
import threading
import time
from pathlib import Path

import pytest

from carboy.containers import events
from carboy.containers.events import write_container_event, write_event
from carboy.containers.watch.journal import HomeEvent, is_wanted, parse_event, parse_filters, read_events
from carboy.errors import CarboyError


def read(home: Path, since_s: float = 0, **options: object) -> list[HomeEvent]:
    return list(read_events(str(home), since_s=since_s, **options))  # type: ignore[arg-type]


def test_what_is_written_is_read_in_order(tmp_path: Path):
    write_event(str(tmp_path), "container", "start", id="abc", name="web", image="iris:1")
    write_event(str(tmp_path), "image", "tag", id="sha256:1", name='a "name"\n')
    first, second = read(tmp_path)
    assert (first.kind, first.action, first.id, first.name) == ("container", "start", "abc", "web")
    assert dict(first.attributes) == {"image": "iris:1"}
    assert second.name == 'a "name"\n'
    assert read(tmp_path, since_s=time.time() + 1) == []
    assert read(tmp_path, until_s=first.time_s) == [first]
    assert (tmp_path / "events.log").stat().st_mode & 0o777 == 0o600


def test_a_containers_event_has_the_name_of_its_folder(tmp_path: Path):
    folder = tmp_path / "containers" / "0123"
    folder.mkdir(parents=True)
    (folder / "name").write_text("web\n")
    write_container_event(str(folder), "start")
    (event,) = read(tmp_path)
    assert (event.id, event.name) == ("0123", "web")


def test_a_home_that_cannot_be_written_costs_the_note_only(tmp_path: Path):
    write_event(str(tmp_path / "gone"), "container", "start")
    (tmp_path / "events.log").symlink_to("/etc/passwd")
    write_event(str(tmp_path), "container", "start")
    assert not Path("/etc/passwd").read_text().endswith("}\n")


def test_half_a_line_and_a_foreign_one_are_passed_over(tmp_path: Path):
    write_event(str(tmp_path), "container", "start")
    with (tmp_path / "events.log").open("a") as file:
        file.write('{"time": 1}\n[]\nnot json\n{"time": 1, "type": "contai')
    assert len(read(tmp_path)) == 1
    assert parse_event(b'{"time": "x", "type": 1, "action": 1, "id": 1, "name": 1, "attributes": {}}') is None


@pytest.mark.slow
def test_writers_at_once_lose_no_line_and_the_file_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(events, "MAX_BYTES", 40_000)
    children = []
    for writer in range(4):
        pid = os.fork()
        if pid == 0:
            for number in range(120):
                write_event(str(tmp_path), "container", "start", id=f"{writer}-{number}")
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == 2
    assert max(sizes) < 41_000
    found = [event.id for event in read(tmp_path)]
    assert len(found) == len(set(found))
    for writer in range(4):  # what is left are the last lines of each, in their order and without a gap
        own = [int(id.partition("-")[2]) for id in found if id.startswith(f"{writer}-")]
        assert own == list(range(120 - len(own), 120))


def test_a_follower_sees_what_comes_and_ends_at_its_time(tmp_path: Path):
    write_event(str(tmp_path), "container", "past")
    seen = []

    def follow() -> None:
        seen.extend(read_events(str(tmp_path), since_s=0, until_s=time.time() + 0.2, follow=True))

    follower = threading.Thread(target=follow)
    follower.start()
    write_event(str(tmp_path), "container", "first")
    os.rename(tmp_path / "events.log", tmp_path / "events.log.1")
    write_event(str(tmp_path), "container", "second")
    follower.join(10)
    assert [event.action for event in seen] == ["past", "first", "second"]


def test_filters_are_dockers():
    event = HomeEvent(
        time_s=0, kind="container", action="die", id="abc", name="web",
        attributes=(("image", "docker.io/library/iris:1"),),
    )  # fmt: skip
    for text in ("type=container", "event=die", "container=web", "container=ab", "image=iris:1"):
        assert is_wanted(event, parse_filters([text])), text
    for text in ("type=image", "event=start", "container=we", "image=iris", "container=", "volume=x"):
        assert not is_wanted(event, parse_filters([text])), text
    assert is_wanted(event, parse_filters(["event=start", "event=die"]))
    assert not is_wanted(event, parse_filters(["event=die", "type=image"]))
    with pytest.raises(CarboyError):
        parse_filters(["nope=1"])
