"""``--change``: instructions that change a configuration."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from carboy.errors import CarboyError
from carboy.images.changes import apply_changes
from carboy.oci.config import RunConfig

BASE = RunConfig(Env=["PATH=/bin", "A=1"], Cmd=["sh"], WorkingDir="/a", Labels={"old": "x"}, ExposedPorts={"1/tcp": {}})


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ("CMD echo $A", {"Cmd": ["/bin/sh", "-c", "echo $A"]}),
        ('cmd ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ('ENTRYPOINT ["run"]', {"Entrypoint": ["run"], "Cmd": None}),
        ("ENTRYPOINT []", {"Entrypoint": None, "Cmd": None}),
        ("ENV A=2 B=$A", {"Env": ["PATH=/bin", "A=2", "B=1"]}),
        ("ENV PATH $PATH:/x", {"Env": ["PATH=/bin:/x", "A=1"]}),
        ('LABEL new="y z" old=', {"Labels": {"old": "", "new": "y z"}}),
        (
            "EXPOSE 80 53/udp 90-91",
            {"ExposedPorts": {key: {} for key in ("1/tcp", "53/udp", "80/tcp", "90/tcp", "91/tcp")}},
        ),
        ('VOLUME ["/v", "/w x"]', {"Volumes": {"/v": {}, "/w x": {}}}),
        ("USER me:us", {"User": "me:us"}),
        ("WORKDIR b/../c", {"WorkingDir": "/a/c"}),
        ("WORKDIR /b", {"WorkingDir": "/b"}),
        ("STOPSIGNAL INT", {"StopSignal": "INT"}),
        ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
        (
            "HEALTHCHECK --interval=5s --retries=2 CMD curl x",
            {"Healthcheck": {"Test": ["CMD-SHELL", "curl x"], "Interval": 5_000_000_000, "Retries": 2}},
        ),
        ("ONBUILD RUN echo $A", {"OnBuild": ["RUN echo $A"]}),
    ],
)
def test_each(change: str, fields: dict[str, Any]) -> None:
    assert apply_changes(BASE, [change]) == msgspec.structs.replace(BASE, **fields)


def test_one_after_the_other() -> None:
    made = apply_changes(BASE, ["ENV A=2", "ENV B=$A", "WORKDIR b", "WORKDIR c", "CMD x", 'ENTRYPOINT ["e"]'])
    assert made.Env == ["PATH=/bin", "A=2", "B=2"]
    assert made.WorkingDir == "/a/b/c"
    assert (made.Entrypoint, made.Cmd) == (["e"], ["/bin/sh", "-c", "x"])


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("", "is empty"),
        ("RUN x", "RUN is no valid change"),
        ("FROM x", "FROM is no valid change"),
        ("COPY a b", "COPY is no valid change"),
        ("CMD a\nUSER b", "more than one"),
        ("ENV", "at least one argument"),
        ("ENV A=${B", "missing"),
        ("EXPOSE x", "invalid containerPort"),
        ("WORKDIR", "exactly one argument"),
    ],
)
def test_what_is_none(change: str, text: str) -> None:
    with pytest.raises(CarboyError, match=text) as caught:
        apply_changes(BASE, [change])
    assert caught.value.code == 2
