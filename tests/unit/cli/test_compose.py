"""The words of ``carboy compose`` before and behind the verb."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.cli.commands.compose.logs import LinePrinter
from carboy.cli.commands.compose.project import Globals, open_project, parse_globals, show_plans
from carboy.cli.commands.compose.verbs import VERBS, compose
from carboy.cli.main import main
from carboy.compose.execution.logs import ProjectLine
from carboy.compose.planning.steps import PlanBuilder, StartContainer


def test_options_before_the_verb_are_composes_and_those_behind_are_the_verbs() -> None:
    words = ["-f", "a.yaml", "--file=b.yaml", "-p", "shop", "--profile", "x", "--dry-run", "up", "-d", "-f", "web"]
    options, verb, rest = parse_globals(words, {})
    assert (options.file, options.project_name, options.profile) == (["a.yaml", "b.yaml"], "shop", ["x"])
    assert (options.dry_run, verb, rest) == (True, "up", ["-d", "-f", "web"])


def test_without_a_verb_the_verbs_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert compose([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        compose([verb, "--help"])
    assert ended.value.code == 0
    assert f"carboy compose {verb}" in capsys.readouterr().out


def test_a_verb_that_there_is_not_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compose", "dwon"]) == 2
    assert "did you mean `carboy compose down`?" in capsys.readouterr().err


def test_unknown_keys_are_named_on_standard_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {web: {image: web, colour: red}}\n")
    assert open_project(Globals(file=[str(file)])).services[0].name == "web"
    seen = capsys.readouterr()
    assert seen.out == ""
    assert "services.web.colour" in seen.err
    assert f"{file}:1" in seen.err


def test_config_prints_names_on_demand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {b: {image: two, profiles: [p]}, a: {image: one}}\nvolumes: {v: }\n")
    for words, shown in (
        (["--services"], "a\n"),
        (["--volumes"], "v\n"),
        (["--profiles"], "p\n"),
        (["--images"], "one\n"),
    ):
        assert compose(["-f", str(file), "config", *words]) == 0
        assert capsys.readouterr().out == shown


def test_plans_are_shown_with_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    builder = PlanBuilder()
    builder.add(StartContainer(name="p-web-1", service="web", reason="it is new"))
    builder.warn("something is odd")
    assert show_plans(builder.finish()) == 0
    seen = capsys.readouterr()
    assert seen.out == "  1  start container p-web-1: it is new\n"
    assert seen.err == "warning: something is odd\n"


def test_lines_have_the_containers_name_in_front(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    def line(service: str) -> ProjectLine:
        return ProjectLine(name="", service=service, number="1", stream="stdout", time="T", text=b"hello \xff")

    printer = LinePrinter(timestamps=True)
    printer.print(line("worker"))
    printer.print(line("web"))
    LinePrinter(prefix=False).print(line("web"))
    printer.flush()
    shown = capsysbinary.readouterr().out
    assert shown == b"worker-1  | T hello \xff\nweb-1     | T hello \xff\nhello \xff\n"
