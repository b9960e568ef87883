"""How many layers an image of a folder has at most: the bounds of its parts, put together as builds put them."""

from __future__ import annotations

import pytest

from carboy.build import data, r_layers
from carboy.environments import groups
from carboy.environments.conda import install as conda
from carboy.environments.r import install as r

MAX_LAYERS = 100
BASE, VENV = 1, 1
ABOVE = data.MAX_OWN + data.BINS + 2  # data, the folder's files, what its postBuild leaves
PYTHON = VENV + groups.BINS + groups.MAX_OWN
BESIDE = VENV + groups.BINS + groups.MAX_OWN_BESIDE
R = 1 + r_layers.OWN_LAYERS + r_layers.BINS + r.OWN_LAYERS + r.BINS  # with R itself
CONDA = conda.OWN_LAYERS + groups.BINS


@pytest.mark.parametrize("parts", [PYTHON + ABOVE, BESIDE + R + ABOVE, BESIDE + CONDA + ABOVE, PYTHON + BESIDE])
def test_an_image_has_at_most_a_hundred_layers(parts: int) -> None:
    assert BASE + parts <= MAX_LAYERS
