"""Which programs of other processors this machine runs: the files of binfmt_misc, as the kernel writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carboy.images.binfmt import explain_missing, find_interpreter, make_header, parse_entry

if TYPE_CHECKING:
    from pathlib import Path

ARM64 = """enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


def machine(path: Path, status: str = "enabled", **entries: str) -> str:
    path.mkdir(exist_ok=True)
    (path / "status").write_text(f"{status}\n")
    (path / "register").write_text("")
    for name, text in entries.items():
        (path / name).write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        (ARM64, True),
        (ARM64.replace("enabled", "disabled"), False),
        (ARM64.replace("b700", "f300"), False),
        (ARM64.replace("mask ff", "mask xx"), False),
        (ARM64.replace("mask ffffffffffffff00fffffffffffffffffeffffff\n", ""), True),
        (ARM64.replace("offset 0", "offset 900"), False),
        ("enabled\ninterpreter /usr/bin/x\nflags: \nextension .py\n", False),
        ("", False),
    ],
)
def test_entries(text: str, fits: bool) -> None:
    assert (parse_entry(text, make_header("arm64")) is not None) is fits


def test_a_fixed_interpreter_goes_before_others(tmp_path: Path) -> None:
    folder = machine(tmp_path, a=ARM64.replace("POCF", "OC"), b=ARM64)
    found = find_interpreter("arm64", folder=folder)
    assert found is not None
    assert found.fixed
    assert find_interpreter("riscv64", folder=folder) is None
    assert find_interpreter("vax", folder=folder) is None


def test_headers_are_those_of_elf() -> None:
    assert make_header("arm64").hex() == "7f454c460201010000000000000000000200b700"
    assert make_header("s390x").hex() == "7f454c4602020100000000000000000000020016"
    with open("/proc/self/exe", "rb") as file:
        own = file.read(20)
    assert own[:7] in {make_header(name)[:7] for name in ("amd64", "arm64")}


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    def say(folder: str, architecture: str = "arm64") -> str:
        return " ".join(explain_missing(architecture, machine="amd64", folder=folder))

    assert "not mounted" in say(str(tmp_path / "none"))
    assert "mount -t binfmt_misc" in say(str(tmp_path / "none"))
    assert "no emulator is registered" in say(machine(tmp_path / "empty"))
    assert "qemu-user-static" in say(machine(tmp_path / "empty"))
    assert "without the flag F" in say(machine(tmp_path / "inside", a=ARM64.replace("POCF", "OC")))
    assert "no emulator" in say(machine(tmp_path / "off", "disabled", a=ARM64))
    assert say(machine(tmp_path / "good", a=ARM64)) == " "
    assert say("/nowhere", "amd64") == " "
    assert say("/nowhere", "386") == " "  # the kernel's own
