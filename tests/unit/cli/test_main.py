import pytest

from carboy.cli.main import VERBS, main


def test_without_a_verb_the_overview_is_shown_and_it_is_a_wrong_call(capsys: pytest.CaptureFixture[str]):
    assert main([]) == 2
    shown = capsys.readouterr().out
    assert all(verb in shown for verb in VERBS)


def test_help_is_not_a_wrong_call(capsys: pytest.CaptureFixture[str]):
    assert main(["--help"]) == 0
    assert "Usage: carboy VERB" in capsys.readouterr().out


def test_an_unknown_verb_names_the_nearest(capsys: pytest.CaptureFixture[str]):
    assert main(["bulid"]) == 2
    assert "carboy build" in capsys.readouterr().err


def test_every_verb_explains_itself(capsys: pytest.CaptureFixture[str]):
    for verb in VERBS:
        if verb == "version":
            continue
        try:
            status = main([verb, "--help"])
        except SystemExit as exit_:
            status = exit_.code
        assert status == 0, verb
        assert f"carboy {verb}" in capsys.readouterr().out
