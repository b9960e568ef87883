"""The variables of a folder's image. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.build.r import plan_r_environment
from carboy.environments.conda.wants import PREFIX

if TYPE_CHECKING:
    from carboy.build.project import ProjectFacts
    from carboy.build.settings import Settings
    from carboy.environments.conda.wants import CondaWants
    from carboy.environments.r.wants import RWants


def plan_variables(
    facts: ProjectFacts,
    settings: Settings,
    *,
    app: str,
    path: str,
    python: bool,
    conda: CondaWants | None,
    r: RWants | None,
) -> dict[str, str]:
    """Return the variables of an image: the folder's files are at ``app``, programs in ``path``; what carboy.toml says counts.

    ``python``: it has the base's own.
    """
    env = {"PATH": path, "LANG": "C.UTF-8"}
    if python or conda is not None:
        env |= {"PYTHONUNBUFFERED": "1", "PYTHONPATH": f"{app}:{app}/src" if "src" in facts.files else app}
    if r is not None:
        own = "/usr/bin/python3" if conda is None else f"{PREFIX}/bin/python"
        interpreter = "/opt/env/bin/python" if "/opt/env" in path else own
        env |= plan_r_environment(r, python=interpreter if python or conda is not None else "")
    if conda is not None:
        env |= {"CONDA_PREFIX": PREFIX, **dict(conda.variables)}
    return env | settings.env
