"""A Dockerfile on Debian, made here from the signed archive: apt-get, users and pip in every tier. Minutes, and the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Carboy

pytestmark = [pytest.mark.root, pytest.mark.userns, pytest.mark.network, pytest.mark.long]

DOCKERFILE = """FROM debian:bookworm
RUN apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home app && mkdir /srv/x && chown app:app /srv/x
USER app
WORKDIR /srv/x
RUN touch mine && id -un > who
ENTRYPOINT ["tini", "--"]
CMD ["cat", "/srv/x/who"]
"""


def test_apt_get_and_users(tier_carboy: Carboy, tmp_path: Path) -> None:
    folder = tier_carboy.home.with_name("debian-context")
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    first = tier_carboy("build", "--progress", "plain", "-t", "apt:1", str(folder))
    assert "debian:bookworm is not in the store and is made here" in first.stderr or "CACHED" in first.stderr
    assert tier_carboy("run", "--rm", "apt:1").stdout == "app\n"
    # The stubs of what RUN was given are gone, and so is where the packages came from.
    assert "carboy" not in tier_carboy("run", "--rm", "apt:1", "ls", "/run").stdout
    again = tier_carboy("build", "-q", "-t", "apt:1", str(folder))
    assert again.stdout == first.stdout.splitlines()[0] + "\n"


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_pip_in_an_image_of_pythons(tier_carboy: Carboy) -> None:
    folder = tier_carboy.home.with_name("python-context")
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(
        "FROM python:3.11-slim\n"
        "RUN --mount=type=cache,target=/root/.cache/pip pip install --no-compile joblib\n"
        "COPY <<main /app/main.py\nimport joblib\nprint('joblib', joblib.hash(1)[:8])\nmain\n"
        'CMD ["python", "/app/main.py"]\n'
    )
    tier_carboy("build", "--progress", "plain", "-t", "pip:1", str(folder))
    assert tier_carboy("run", "--rm", "pip:1").stdout.startswith("joblib ")
