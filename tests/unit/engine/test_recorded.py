"""A plan that is held to what an image recorded of its packages."""

from __future__ import annotations

import json
from dataclasses import replace

from carboy.build.plan import BaseStep, CondaStep, EnvironmentStep, Plan, RStep
from carboy.engine.documents.recorded import Recorded, hold_plan, parse_labels
from carboy.environments.r.wants import RPackage

HEX = "0" * 64
PYTHON = f"idna==3.7 --hash=sha256:{HEX}\nown @ file:///libs/own --hash=sha256:{HEX}\n"
R = f"curl 7.88.1-10 sha256:{HEX}\nr-cran-abind 1.4-5-2 sha256:{HEX}\ncurl 5.0.0 sha256:{HEX}\n"
CONDA = f"zlib 1.3 sample/linux-64/zlib-1.3-0.conda sha256:{HEX}\n"
RECORDED = Recorded(archive="{}", lock=PYTHON, r=R, conda=CONDA)
BASE = BaseStep(base="debian:bookworm", packages=(), reason="")
STEPS = (
    BASE,
    EnvironmentStep(requirements="idna\n", constraints="six<2\n", allowed="", reason=""),
    RStep(packages=(RPackage(name="curl"),), distribution=False, reason=""),
    CondaStep(specs=("zlib",), channels=("sample",), packages=(), reason="", skipped_scripts=("zlib",)),
)


def test_what_no_lock_decides_is_held() -> None:
    labels = {"io.carboy.archive": "{}", "io.carboy.lock": PYTHON, "io.carboy.r": R, "io.carboy.conda": CONDA, "x": "y"}
    assert parse_labels(labels) == RECORDED
    base, python, r, conda = hold_plan(Plan(folder="/f", steps=STEPS), RECORDED).steps
    assert base == BASE
    assert isinstance(python, EnvironmentStep)
    assert python.constraints.splitlines() == ["six<2", "idna==3.7"]
    assert python.allowed == PYTHON
    assert isinstance(r, RStep)
    assert f"curl 5.0.0 sha256:{HEX}" in r.hashes  # the source, not the distribution's program of that name
    assert not any(line.startswith("curl 7") for line in r.hashes)
    assert isinstance(conda, CondaStep)
    assert (conda.specs, conda.channels, conda.packages) == ((), (), (CONDA.strip(),))
    assert conda.skipped_scripts == ("zlib",)


def test_a_label_may_be_anybodys() -> None:
    """Of an image from elsewhere nothing leads to other files, or to other channels, and nothing is an error."""
    suite = {"name": "bookworm", "inrelease_sha256": HEX}
    for text in ("", "[]", "{", '{"suites": 1}', '{"suites": [1, {}, {"name": 1}]}', "[" * 100_000):
        assert not getattr(Recorded(archive=text).find_snapshot(), "texts", None)
    archive = {"suites": [suite, {"name": "evil", "inrelease_sha256": "../../../etc/passwd"}]}
    snapshot = Recorded(archive=json.dumps(archive)).find_snapshot()
    assert snapshot is not None
    assert snapshot.texts == {"bookworm": HEX}
    wrong = Recorded(r=f"curl\ncurl ../../x sha256:{HEX}\n", conda=CONDA.replace("sample/", "https://evil.example/"))
    assert hold_plan(Plan(folder="/f", steps=STEPS), wrong).steps == STEPS
    assert hold_plan(Plan(folder="/f", steps=STEPS), Recorded(conda="what\n")).steps == STEPS


def test_what_sources_are_built_with_is_held_beside_any_lock() -> None:
    pin = f"flit-core==3.9 --hash=sha256:{HEX}"
    built = f"own: {pin}\nb: {pin}\nc: flit-core @ https://evil.example/x.whl --hash=sha256:{HEX}\n"
    locked = EnvironmentStep(requirements="own\n", constraints="", allowed=PYTHON, reason="", tools=(("b", ()),))
    held = hold_plan(Plan(folder="/f", steps=(locked,)), Recorded(lock=PYTHON, built=built)).steps
    assert held == (replace(locked, tools=(("b", ()), ("own", (pin,)))),)


def test_a_folder_that_is_locked_stays_as_it_is() -> None:
    locked = (
        EnvironmentStep(requirements="idna\n", constraints="", allowed=PYTHON, reason=""),
        RStep(packages=(), distribution=False, reason="", hashes=(f"abind 1.4 sha256:{HEX}",)),
        CondaStep(specs=(), channels=(), packages=("other",), reason=""),
    )
    assert hold_plan(Plan(folder="/f", steps=locked), RECORDED).steps == locked
    assert hold_plan(Plan(folder="/f", steps=STEPS), parse_labels({})).steps == STEPS
