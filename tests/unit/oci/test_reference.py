import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.oci.digest import Digest
from carboy.oci.errors import InvalidDigestError, InvalidReferenceError
from carboy.oci.reference import Reference

NAMES = {
    "iris": ("docker.io", "library/iris", "latest", "iris:latest"),
    "iris:1": ("docker.io", "library/iris", "1", "iris:1"),
    "team/iris": ("docker.io", "team/iris", "latest", "team/iris:latest"),
    "docker.io/iris:1": ("docker.io", "library/iris", "1", "iris:1"),
    "index.docker.io/team/iris": ("docker.io", "team/iris", "latest", "team/iris:latest"),
    "localhost/iris": ("localhost", "iris", "latest", "localhost/iris:latest"),
    "localhost:5000/a/b/c:x": ("localhost:5000", "a/b/c", "x", "localhost:5000/a/b/c:x"),
    "registry.example/iris:V1.0_a-b": ("registry.example", "iris", "V1.0_a-b", "registry.example/iris:V1.0_a-b"),
    "[::1]:5000/iris": ("[::1]:5000", "iris", "latest", "[::1]:5000/iris:latest"),
}
WRONG = [
    "", ":", "@", "Iris", "a//b", "a/", "/a", "-a", "a..b", "a:", "a:b:c", "a@sha256:12", "a:" + "x" * 129, "a b", "a\n",
    "../../etc/passwd", "a/../b", "x" * 256, "é",
]  # fmt: skip


@pytest.mark.parametrize("text", NAMES)
def test_short_names_are_completed_as_docker_does(text: str) -> None:
    reference = Reference.parse(text)
    assert (reference.registry, reference.repository, reference.tag, reference.familiar) == NAMES[text]


@pytest.mark.parametrize("text", WRONG)
def test_wrong_names_are_refused(text: str) -> None:
    with pytest.raises((InvalidReferenceError, InvalidDigestError)):
        Reference.parse(text)


def test_a_digest_replaces_the_default_tag() -> None:
    digest = Digest.of(b"x")
    assert str(Reference.parse(f"iris@{digest}")) == f"docker.io/library/iris@{digest}"
    assert Reference.parse(f"iris:1@{digest}").tag == "1"


@given(st.text(max_size=80))
def test_what_is_accepted_is_stable(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except (InvalidReferenceError, InvalidDigestError):
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar) == reference


@given(st.text(max_size=100))
def test_a_digest_is_safe_as_a_file_name(text: str) -> None:
    try:
        digest = Digest.parse(text)
    except InvalidDigestError:
        return
    assert set(digest.hex) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "text", ["sha256:../../x", "sha256:" + "A" * 64, "sha256:" + "a" * 63, "md5:" + "a" * 32, "a" * 64]
)
def test_wrong_digests_are_refused(text: str) -> None:
    with pytest.raises(InvalidDigestError):
        Digest.parse(text)
