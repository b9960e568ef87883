"""The launch record: what goes in comes out, whatever the image says."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from carboy.engine.launch import LaunchRecord

texts = st.text(alphabet=st.one_of(st.sampled_from("\n\0%0A2 5=/"), st.characters(codec="utf-8")), max_size=20)
lists = st.lists(texts, max_size=4)


@given(layers=lists, env=lists, entrypoint=lists, cmd=lists, workdir=texts, user=texts)
def test_a_record_survives_its_text(
    layers: list[str], env: list[str], entrypoint: list[str], cmd: list[str], workdir: str, user: str
) -> None:
    record = LaunchRecord(
        manifest="sha256:0", layers=layers, env=env, entrypoint=entrypoint, cmd=cmd, workdir=workdir, user=user,
        volumes=layers, labels=env, health=cmd,
    )  # fmt: skip
    again = LaunchRecord.decode(record.encode())
    assert all(getattr(again, name) == getattr(record, name) for name in LaunchRecord.__slots__)
