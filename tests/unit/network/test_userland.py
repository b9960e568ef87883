"""Private networks of users: what is there and what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.errors import CarboyError
from carboy.network import private
from carboy.network.userland import plan_command, probe_userland


def make_program(folder: Path, name: str) -> str:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)
    return str(folder)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    means, missing = probe_userland(tun=str(tmp_path / "tun"), path=str(tmp_path))
    assert means is None
    assert any("passt" in reason for reason in missing)
    assert any("tun cannot be opened" in reason for reason in missing)


def test_pasta_is_preferred(tmp_path: Path) -> None:
    tun = tmp_path / "tun"
    tun.touch()
    path = make_program(tmp_path, "slirp4netns")
    assert probe_userland(tun=str(tun), path=path) == ("slirp4netns", [])
    make_program(tmp_path, "pasta")
    assert probe_userland(tun=str(tun), path=path) == ("pasta", [])


@pytest.mark.parametrize(("means", "closed"), [("pasta", "--no-map-gw"), ("slirp4netns", "--disable-host-loopback")])
def test_h8_the_hosts_loopback_is_closed(means: str, closed: str) -> None:
    command = plan_command(means, f"/usr/bin/{means}", pid=7)
    assert closed in command
    assert "/proc/7/ns/net" in command


def test_the_refusal_names_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "_probe", lambda tier: (None, ["no tun"]))
    with pytest.raises(CarboyError, match="no private network here") as caught:
        private.attach(0, container_id="c", tier="single")
    assert caught.value.code == 125
    assert "--network none" in caught.value.hint
