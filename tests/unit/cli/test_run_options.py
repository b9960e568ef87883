import pytest

from carboy.cli.commands.container_options import Options, parse_duration, parse_options, parse_size
from carboy.cli.commands.run import looks_like_folder
from carboy.errors import CarboyError


def parse_run(words: list[str]) -> Options:
    return parse_options("run", words)


def test_words_after_the_target_belong_to_the_program():
    options = parse_run(
        ["--rm", "-it", "-e", "A=1", "--env=B=x=y", "--network", "host", "iris:1", "python", "-e", "--rm"]
    )
    assert options.target == "iris:1"
    assert options.arguments == ["python", "-e", "--rm"]
    assert options.flags == {"auto_remove", "interactive", "terminal"}
    assert options.env == ["A=1", "B=x=y"]
    assert options.lists == {"networks": ["host"]}


def test_two_dashes_may_stand_before_or_after_the_target():
    assert parse_run(["--", "-odd", "a"]).target == "-odd"
    assert parse_run([".", "--", "train.py", "--", "x"]).arguments == ["train.py", "--", "x"]


def test_a_variable_without_a_value_is_the_callers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FROM_CALLER", "yes")
    monkeypatch.delenv("NOT_SET", raising=False)
    assert parse_run(["-e", "FROM_CALLER", "-e", "NOT_SET", "x"]).env == ["FROM_CALLER=yes"]


@pytest.mark.parametrize(
    "words",
    [[], ["--rm"], ["--nope", "x"], ["-e"], ["-e", "=1", "x"], ["--rm=maybe", "x"], ["-iz", "x"], ["--env"]],
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


def test_short_options_may_be_written_together_with_their_value():
    options = parse_run(["-dit", "-p80:8080", "-m=1g", "-v", "a:/b:ro", "x"])
    assert options.flags == {"detach", "interactive", "terminal"}
    assert options.lists == {"publish": ["80:8080"]}
    assert options.limits == [("memory", "1g")]
    assert options.mounts == [("volume", "a:/b:ro")]


def test_the_options_become_a_request():
    words = [
        "--name",
        "web",
        "--rm",
        "--health-cmd",
        "true",
        "--health-interval",
        "1m30s",
        "--label",
        "a=b=c",
        "x",
        "y",
    ]
    request = parse_run(words).request(network="host")
    assert (request.name, request.auto_remove, request.network) == ("web", True, "host")
    assert request.health == ("90.0", "30.0", "0.0", "5.0", "3", "/bin/sh", "-c", "true")
    assert request.labels == (("a", "b=c"),)
    assert request.arguments == ("y",)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1m30s", 90), ("500ms", 0.5), ("2h", 7200), ("1.5s", 1.5), ("7", 7)]
)
def test_time_spans(text: str, seconds: float):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("10", 10), ("1k", 1024), ("2mb", 2 << 20), ("1.5GiB", 3 << 29), ("0b", 0)])
def test_sizes(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "1q", "-1", "m", "1mm"])
def test_what_is_no_size(text: str):
    with pytest.raises(CarboyError):
        parse_size(text)


def test_the_first_network_is_the_one_that_aliases_and_the_address_are_for():
    words = [
        "--network",
        "shop",
        "--network-alias",
        "a",
        "--ip",
        "10.5.0.7",
        "--net=name=back,alias=b,alias=c,ip=10.6.0.7",
    ]
    request = parse_run([*words, "--network", "bridge", "x"]).request(network="none")
    assert (request.network, request.network_aliases) == ("shop", ("a",))
    assert request.more_networks == (("back", "b", "c"), ("bridge",))
    assert request.network_ips == (("shop", "10.5.0.7"), ("back", "10.6.0.7"))
    assert parse_run(["x"]).request(network="host").network == "host"


@pytest.mark.parametrize("words", [["--ip", "10.5.0.7"], ["--network", "alias=x"], ["--network", "name=x,mac=1"]])
def test_networks_that_cannot_be_read(words: list[str]):
    with pytest.raises(CarboyError) as caught:
        parse_run([*words, "x"]).request(network=None)
    assert (caught.value.code, bool(caught.value.hint)) == (2, True)
