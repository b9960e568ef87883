"""environment.yml, its YAML, channels, and which of a folder's files counts."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.environments.conda import document
from carboy.environments.conda.channels import find_address, name_channel, parse_addresses, split_address
from carboy.environments.conda.choose import choose_conda, list_conda_findings
from carboy.environments.conda.document import parse_document
from carboy.environments.conda.files import parse_environment
from carboy.environments.conda.wants import CondaWants
from carboy.errors import CarboyError

ENVIRONMENT = """\
name: analysis
channels:
  - conda-forge
  - nodefaults
  - https://conda.example.org/ours/
dependencies:
  - python=3.10
  - numpy >=1.2,<2  # a comment
  - conda-forge::scipy
  - pip
  - pip:
      - click==8.1
      - -r requirements.txt
variables:
  A: 1.10
  B: "yes"
prefix: /home/somebody
"""


def wants_of(text: str, **more: str) -> CondaWants:
    return parse_environment("environment.yml", {"environment.yml": text, **more})


def test_an_environment_is_read() -> None:
    wants = wants_of(ENVIRONMENT, **{"requirements.txt": "tabulate\n"})
    assert wants.channels == ("conda-forge", "https://conda.example.org/ours")
    assert wants.specs == ("python=3.10", "numpy >=1.2,<2", "conda-forge::scipy", "pip")
    assert wants.pip is not None
    assert wants.pip.requirements == "click==8.1\ntabulate\n"
    assert wants.variables == (("A", "1.10"), ("B", "yes"))
    assert wants_of("dependencies: [jq]\n").channels == ("conda-forge",)
    assert wants_of("name: nothing\ndependencies:\nchannels: ~\n").specs == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dependencies: jq\n", "no list of texts"),
        ("dependencies: [{conda: [a]}]\n", "neither a text"),
        ("dependencies: [{pip: {a: b}}]\n", "pip is no list"),
        ("dependencies: [{pip: ['-e .']}]\n", "the folder itself"),
        ("channels: [a, [b]]\n", "channels is no list"),
        ("channels: ['two words']\n", "is no channel"),
        ("channels: [./local]\n", "is no channel"),
        ("channels: ['https://me:secret@conda.example.org/x']\n", "has a login"),
        ("channels: ['https://conda.example.org/t/tk-123/x']\n", "has a login"),
        ("variables: [A]\n", "no mapping of texts"),
        ("variables: {A-B: x}\n", "no name of a variable"),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str) -> None:
    with pytest.raises(CarboyError, match=message) as caught:
        wants_of(text)
    assert caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n", "no mapping"),
        ("", None),
        ("a: [\n", "line 2"),
        ("a: 1\na: 2\n", "line 2: the key 'a' stands here a second time"),
        ("a: &x [1]\nb: *x\n", "line 1: anchors"),
        ("a: !!python/object:os.system x\n", "tags are not read"),
        ("a: 1\n---\nb: 2\n", "a second document"),
        ("? [a]\n: b\n", "a key must be text"),
        ("a: " + "[" * 40 + "]" * 40, "deeper than 32"),
        ("a: \x00\n", ""),
    ],
)
def test_only_plain_yaml_is_read(text: str, message: str | None) -> None:
    if message is None:
        assert parse_document(text, file="f.yml") == {}
        return
    with pytest.raises(CarboyError, match=r"f\.yml cannot be read") as caught:
        parse_document(text, file="f.yml")
    assert message in caught.value.details


def test_a_document_has_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_NODES", 10)
    with pytest.raises(CarboyError) as caught:
        parse_document("a: [1,2,3,4,5,6,7,8,9]\n", file="f.yml")
    assert "more than 10 values" in caught.value.details


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(CarboyError):
        wants_of(text)


def test_numbers_are_the_text_that_stands_there() -> None:
    assert parse_document("a: 3.10\nb: [1_000, yes, ~]\n", file="f") == {"a": "3.10", "b": ["1_000", "yes", "~"]}


def test_channels_have_names_and_addresses() -> None:
    public = "https://conda.anaconda.org"
    assert name_channel(f"{public}/conda-forge/", where="f") == "conda-forge"
    assert name_channel("https://conda.example.org/x/", where="f") == "https://conda.example.org/x"
    assert find_address("bioconda", {}) == f"{public}/bioconda"
    assert find_address("bioconda", {"bioconda": "file:///srv/b"}) == "file:///srv/b"
    assert find_address("https://conda.example.org/x", {}) == "https://conda.example.org/x"
    url = f"{public}/conda-forge/linux-64/zlib-1.3.1-h_2.conda"
    assert split_address(f"{url}#0123", where="f") == ("conda-forge", "linux-64/zlib-1.3.1-h_2.conda")
    with pytest.raises(CarboyError, match="no package of a channel"):
        split_address("zlib.conda", where="f")
    for name in ("defaults", "pkgs/main", "main", "https://repo.anaconda.com/pkgs/r"):
        with pytest.raises(CarboyError, match="Anaconda's") as caught:
            find_address(name, {})
        assert "conda-forge" in caught.value.hint
    assert find_address("defaults", {"defaults": "https://mirror.example.org/m"}) == "https://mirror.example.org/m"


def test_addresses_of_the_settings_are_checked() -> None:
    assert parse_addresses({"a": "https://x.example/a/"}, where="f") == {"a": "https://x.example/a"}
    for wrong in (1, "srv/channel", "ftp://x.example/a", {}):
        with pytest.raises(CarboyError, match=r"f: conda\.a is no address"):
            parse_addresses({"a": wrong}, where="f")


def choose(texts: dict[str, str], named: str = "") -> str:
    wants = choose_conda(texts, subdir="linux-64", named=named)
    return wants.file if wants is not None else ""


CONDA_LOCK = "version: 1\npackage: [{name: a, platform: linux-64, manager: pip, version: '1', hash: {sha256: x}}]\n"
PIXI_LOCK = "version: 6\nenvironments: {default: {packages: {linux-64: []}}}\npackages: []\n"


def test_which_file_counts() -> None:
    plain = {"environment.yml": "dependencies: [jq]\n"}
    assert choose({}) == ""
    assert choose({"requirements.txt": "numpy\n"}) == ""
    assert choose({"pyproject.toml": "[project]\nname = 'a'\n"}) == ""
    assert choose(plain | {"requirements.txt": "numpy\n", "pyproject.toml": ""}) == "environment.yml"
    assert choose(plain | {"environment.yaml": "{"}) == "environment.yml"
    assert choose({"environment.yaml": "dependencies: [jq]\n"}) == "environment.yaml"
    assert choose(plain | {"conda-lock.yml": CONDA_LOCK}) == "conda-lock.yml"
    assert choose({"pixi.lock": PIXI_LOCK, "pixi.toml": ""}) == "pixi.lock"
    assert choose({"pixi.lock": PIXI_LOCK, "pyproject.toml": "[tool.pixi.workspace]\n"}) == "pixi.lock"
    assert choose(plain | {"pyproject.toml": "[tool.pixi.workspace]\n"}) == "environment.yml"
    assert choose(plain | {"uv.lock": ""}, named="./environment.yml") == "environment.yml"
    assert choose(plain | {"requirements.txt": ""}, named="requirements.txt") == ""


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        ({"environment.yml": "", "uv.lock": ""}, ("environment.yml", "uv.lock")),
        ({"environment.yml": "", "pixi.lock": PIXI_LOCK}, ("pixi.lock", "environment.yml")),
        ({"conda-lock.yml": CONDA_LOCK, "pixi.lock": PIXI_LOCK}, ("conda-lock.yml", "pixi.lock")),
        ({"pixi.lock": PIXI_LOCK, "poetry.lock": ""}, ("pixi.lock", "poetry.lock")),
    ],
)
def test_two_truths_are_an_error_that_names_both(texts: dict[str, str], names: tuple[str, str]) -> None:
    with pytest.raises(CarboyError, match=f"both {names[0]} and {names[1]} say"):
        choose(texts)


def test_pixi_needs_its_lock() -> None:
    for texts in (
        {"pixi.toml": ""},
        {"pixi.toml": "", "environment.yml": ""},
        {"pyproject.toml": "[tool.pixi.project]"},
    ):
        with pytest.raises(CarboyError, match=r"there is no pixi\.lock"):
            choose(texts)


def test_findings_say_which_file_counts() -> None:
    wants = choose_conda({"environment.yml": "dependencies: [jq]\n"}, subdir="linux-64")
    found = list_conda_findings(["environment.yml", "environment.yaml", "main.py"], wants)
    assert [(item.file, item.used) for item in found] == [("environment.yml", True), ("environment.yaml", False)]
