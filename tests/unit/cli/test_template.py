from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.cli.template import parse_template, render_template
from carboy.errors import CarboyError

VALUE = {
    "State": {"Status": "running", "Pid": 7, "Running": True},
    "Config": {"Cmd": ["sleep", "9"], "Labels": {"a.b": "c"}, "User": ""},
    "Networks": {"one": {"IP": "10.0.0.2"}, "two": {"IP": "10.0.0.3"}},
    "Mounts": [],
    "None": None,
}


def render(text: str) -> str:
    return render_template(parse_template(text), VALUE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".State.Status", "running"),
        ("{{.State.Status}}", "running"),
        ("{{ .State.Status }} {{.State.Pid}}", "running 7"),
        ("{{.State.Running}}{{.None}}", "true<no value>"),
        ("{{json .Config.Cmd}}", '["sleep", "9"]'),
        ("{{.Config.Cmd}}", "[sleep 9]"),
        ("{{.Config.Labels}}", "map[a.b:c]"),
        ('{{index .Config.Labels "a.b"}}-{{index .Config.Labels "x"}}', "c-"),
        ("{{index .Config.Cmd 1}}", "9"),
        ("{{len .Config.Cmd}}", "2"),
        ('{{join .Config.Cmd " "}}', "sleep 9"),
        ("{{.State.Status | upper}}", "RUNNING"),
        ("{{range .Networks}}<{{.IP}}>{{end}}", "<10.0.0.2><10.0.0.3>"),
        ("{{range .Config.Cmd}}{{.}},{{end}}", "sleep,9,"),
        ("{{range .Mounts}}x{{else}}none{{end}}", "none"),
        ("{{if .Config.User}}u{{else}}root{{end}}", "root"),
        ("{{with .State}}{{.Pid}}{{end}}", "7"),
        ("{{.State.Pid}}\\t{{.State.Pid}}", "7\t7"),
        ("a {{- .State.Pid -}} b", "a7b"),
        ("plain", "plain"),
        ("{{range $name, $net := .Networks}}{{$name}}={{$net.IP}} {{end}}", "one=10.0.0.2 two=10.0.0.3 "),
        ("{{range $word := .Config.Cmd}}{{$word}}{{$.State.Pid}}{{end}}", "sleep797"),
        ('{{(index .Networks "one").IP}}', "10.0.0.2"),
        ("{{len (index .Config.Cmd 0)}}", "5"),
        ('{{if eq .State.Status "paused" "running"}}up{{end}}', "up"),
        ("{{if and .State.Running (not .Config.User)}}root{{end}}", "root"),
        ("{{with $s := .State}}{{$s.Pid}}{{end}}", "7"),
    ],
)
def test_what_go_would_print(text: str, expected: str):
    assert render(text) == expected


@pytest.mark.parametrize(
    "text",
    ["{{", "{{}}", "{{end}}", "{{if .State}}", "{{nope .State}}", "{{.Nope}}", ".State.Nope", "{{State}}", "{{json}}",
     "{{| json}}", "{{range .State.Status}}{{end}}", "{{if}}{{end}}", "{{$nope}}", "{{(.State}}", "{{()}}", "{{.State)}}",
     "{{and}}", "{{range a := .Mounts}}{{end}}", "{{join .State}}", "x" * 20_000, "{{if .State}}" * 50],
)  # fmt: skip
def test_a_wrong_format_is_status_2_with_a_reason(text: str):
    with pytest.raises(CarboyError) as caught:
        render(text)
    assert caught.value.code == 2


def test_an_unknown_field_names_those_that_there_are():
    with pytest.raises(CarboyError) as caught:
        render("{{.State.Statis}}")
    assert "Status" in caught.value.hint


WORDS = st.sampled_from(
    ["{{", "}}", "{{-", "-}}", ".", ".State", ".Config.Cmd", "$", "$x", ":=", ",", "(", ")", "|", "range", "if", "with", "else",
     "end", "index", "len", "json", "join", "eq", "not", "and", "upper", '"a"', "0", "9", "\\t", " ", "x", "²"]
)  # fmt: skip


@given(st.lists(WORDS, max_size=25).map(" ".join) | st.lists(WORDS, max_size=25).map("".join))
def test_no_text_makes_it_fail_otherwise(text: str):
    with suppress(CarboyError):
        render(text)
    with suppress(CarboyError):
        render(f"{{{{{text}}}}}")
