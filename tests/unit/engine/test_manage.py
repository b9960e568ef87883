from pathlib import Path

from carboy.containers.record import ContainerConfig, ContainerState
from carboy.engine.containers.manage import ContainerView, read_log

LINES = (
    "2026-11-25T04:00:00.000000500Z stdout F one",
    "2026-11-25T04:00:00.500000000Z stderr F two",
    "2026-11-25T04:00:01.000000100Z stdout P three, ",
    "2026-11-25T04:00:01.000000200Z stdout F and four",
)


def texts(folder: Path, **options: object) -> list[str]:
    config = ContainerConfig(id="a", image="x", manifest="m", layers=(), created_at_s=0.0, args=("x",))
    view = ContainerView(config=config, state=ContainerState(status="exited"), name="web", folder=str(folder))
    return [line.text.decode() for line in read_log(view, **options)]  # type: ignore[arg-type]


def test_lines_between_two_times_ends_included(tmp_path: Path):
    (tmp_path / "log").write_text("".join(f"{line}\n" for line in LINES))
    assert len(texts(tmp_path)) == 4
    assert texts(tmp_path, since="2026-11-25T04:00:00.000000Z")[0] == "one"
    assert texts(tmp_path, since="2026-11-25T04:00:00.000001Z")[0] == "two"
    assert texts(tmp_path, until="2026-11-25T04:00:00.500000Z") == ["one", "two"]
    assert texts(tmp_path, since="2026-11-25T04:00:00.1Z", until="2026-11-25T04:00:00.9Z") == ["two"]
    assert texts(tmp_path, until="2026-11-25T03:00:00.000000Z") == []
    assert texts(tmp_path, tail=1) == ["three, ", "and four"]
    assert texts(tmp_path, tail=1, until="2026-11-25T04:00:00.700000Z", follow=True) == ["two"]
    assert texts(tmp_path, tail=0) == []
