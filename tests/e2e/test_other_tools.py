"""The image is not ours alone: tools that know nothing of carboy take it from the store's own folder."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Carboy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.root,
    pytest.mark.userns,
]
# Byte for byte, digests included: it compresses layers otherwise, for a quarter of a minute.
AS_IT_IS = ("--insecure-policy", "--quiet", "--preserve-digests")


def need(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed (Debian: {program})")
    return path


def call(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=250, cwd=cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def ref_name(carboy: Carboy) -> str:
    index = json.loads((carboy.home / "store" / "index.json").read_text())
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]]
    return next(str(name) for name in names if name.endswith("iris:test"))


def test_skopeo_copies_it(shared_carboy: Carboy, tmp_path: Path) -> None:
    skopeo = need("skopeo")
    source = f"oci:{shared_carboy.home}/store:{ref_name(shared_carboy)}"
    call(skopeo, "copy", *AS_IT_IS, source, f"oci:{tmp_path}/copy:iris")
    inspected = json.loads(call(skopeo, "inspect", f"oci:{tmp_path}/copy:iris"))
    (ours,) = json.loads(shared_carboy("inspect", "iris:test").stdout)
    assert inspected["Digest"] == ours["Digest"]
    assert inspected["Layers"] == [layer["Digest"] for layer in ours["Layers"]]
    assert inspected["Os"] == "linux"
    assert len(inspected["Layers"]) >= 3  # base, environment, files


def test_skopeo_writes_a_docker_archive_of_it(shared_carboy: Carboy, tmp_path: Path) -> None:
    source = f"oci:{shared_carboy.home}/store:{ref_name(shared_carboy)}"
    call(need("skopeo"), "copy", "--insecure-policy", "--quiet", source, f"docker-archive:{tmp_path}/iris.tar:iris:1")
    assert (tmp_path / "iris.tar").stat().st_size > 1_000_000


@pytest.mark.long
@pytest.mark.timeout(400)
def test_umoci_unpacks_it_and_runc_runs_it(shared_carboy: Carboy, tmp_path: Path) -> None:
    umoci, runc = need("umoci"), need("runc")
    # umoci takes no slash or colon in a name, so the image gets a short one on its way through skopeo.
    source = f"oci:{shared_carboy.home}/store:{ref_name(shared_carboy)}"
    call(need("skopeo"), "copy", *AS_IT_IS, source, f"oci:{tmp_path}/layout:iris")
    call(umoci, "unpack", "--image", f"{tmp_path}/layout:iris", f"{tmp_path}/bundle")
    document = json.loads((tmp_path / "bundle" / "config.json").read_text())
    assert document["process"]["args"]
    document["process"]["terminal"] = False
    # This machine's cgroups are not what is tested here, and runc knows fewer kinds of them than there are.
    document["linux"].pop("resources", None)
    document["linux"]["namespaces"] = [item for item in document["linux"]["namespaces"] if item["type"] != "cgroup"]
    document["mounts"] = [item for item in document["mounts"] if item["type"] != "cgroup"]
    (tmp_path / "bundle" / "config.json").write_text(json.dumps(document))
    output = call(runc, "--root", f"{tmp_path}/runc", "run", "--bundle", f"{tmp_path}/bundle", f"iris-{tmp_path.name}")
    assert "accuracy" in output.lower()
