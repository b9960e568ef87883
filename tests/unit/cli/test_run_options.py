import pytest

from carboy.cli.commands.run import looks_like_folder, parse_run
from carboy.errors import CarboyError


def test_words_after_the_target_belong_to_the_program():
    options = parse_run(
        ["--rm", "-it", "-e", "A=1", "--env=B=x=y", "--network", "host", "iris:1", "python", "-e", "--rm"]
    )
    assert options.target == "iris:1"
    assert options.arguments == ["python", "-e", "--rm"]
    assert options.flags == {"rm", "interactive", "terminal"}
    assert options.env == {"A": "1", "B": "x=y"}
    assert options.values == {"network": "host"}


def test_two_dashes_may_stand_before_or_after_the_target():
    assert parse_run(["--", "-odd", "a"]).target == "-odd"
    assert parse_run([".", "--", "train.py", "--", "x"]).arguments == ["train.py", "--", "x"]


def test_a_variable_without_a_value_is_the_callers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FROM_CALLER", "yes")
    monkeypatch.delenv("NOT_SET", raising=False)
    assert parse_run(["-e", "FROM_CALLER", "-e", "NOT_SET", "x"]).env == {"FROM_CALLER": "yes"}


@pytest.mark.parametrize(
    "words",
    [[], ["--rm"], ["--nope", "x"], ["-e"], ["-e", "=1", "x"], ["--network", "bridge", "x"], ["-iz", "x"], ["--env"]],
)
def test_a_wrong_call_is_status_2_with_a_hint(words: list[str]):
    with pytest.raises(CarboyError) as caught:
        parse_run(words)
    assert caught.value.code == 2
    assert caught.value.hint


def test_what_looks_like_a_folder(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "iris").mkdir()
    assert [t for t in (".", "./x", "/no", "iris", "iris:1", "debian") if looks_like_folder(t)] == [
        ".",
        "./x",
        "/no",
        "iris",
    ]
