"""``examples/dockerfiles``: each is built and run by the commands of its README, and asked for what it is there for.

Those that install packages take minutes together, and the network; what can be checked without is checked every day.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from containers import find_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Carboy

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "dockerfiles"
NAMES = sorted(path.name for path in EXAMPLES.iterdir())

_BUILT = (
    pytest.mark.root, pytest.mark.userns, pytest.mark.network, pytest.mark.long, pytest.mark.timeout(600),
)  # fmt: skip


def in_tiers(*tiers: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Mark a test that builds and runs an example as people of these tiers."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        for item in (*_BUILT, pytest.mark.parametrize("tier_carboy", tiers, indirect=True)):
            test = item(test)
        return test

    return mark


in_root = in_tiers("root")
in_every_tier = in_tiers("root", "subuid", "single")


def read_commands(name: str) -> list[list[str]]:
    """Return the words of the commands in the README's first `sh` block: those that build, and last the one that runs."""
    block = re.search(r"^```sh\n(.*?)^```", (EXAMPLES / name / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    commands = [shlex.split(line) for line in block.group(1).splitlines()]
    assert all(words[0] == "carboy" for words in commands)
    return [words[1:] for words in commands]


def fetch(request: urllib.request.Request) -> tuple[int, str]:
    """Return the status of an answer, and the answer."""
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


class Example:
    """One example in the home of one person, in a copy of its folder."""

    def __init__(self, carboy: Carboy, name: str) -> None:
        self.carboy = carboy
        self.folder = carboy.home.with_name(f"example-{name}")
        self.port = find_port()
        self.container = f"example-{name}"
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(EXAMPLES / name, self.folder)
        *self.builds, self.start = read_commands(name)
        self.log = ""

    def build(self) -> None:
        """Build as the README says."""
        for words in self.builds:
            done = self.carboy(*words, "--progress", "plain", cwd=self.folder, timeout_s=580)
            self.log += done.stderr

    def run(self, *words: str) -> str:
        """Run as the README says, or another command (image first), and return what it writes."""
        return self.carboy(*(("run", "--rm", *words) if words else self.start), cwd=self.folder).stdout

    def serve(self, *options: str) -> None:
        """Run as the README says, but in the background, and on a free port of this machine."""
        words = [
            re.sub(r"^\d+:", f"127.0.0.1:{self.port}:", word) for word in self.start[1:] if word not in {"--rm", "-d"}
        ]
        if "--name" in words:
            del words[words.index("--name") : words.index("--name") + 2]
        self.carboy("run", "-d", "--name", self.container, *options, *words)

    def exec(self, *words: str) -> str:
        """Run a command in the container."""
        return self.carboy("exec", self.container, *words).stdout

    def ask(self, path: str, value: object = None, *, status: int = 200) -> str:
        """Return what the service answers; while it does not listen yet, it is asked again."""
        data = None if value is None else json.dumps(value).encode()
        kind = {"Content-Type": "application/json"} if data else {}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data=data, headers=kind)
        end = time.monotonic() + 60
        while True:
            try:
                found, text = fetch(request)
                break
            except OSError:
                if time.monotonic() > end:
                    raise AssertionError(self.carboy("logs", self.container).stdout) from None
                time.sleep(0.1)  # nobody tells when a server listens
        assert found == status, text
        return text

    def health(self) -> str:
        """Return what the health check says."""
        return self.carboy("inspect", "-f", "{{.State.Health.Status}}", self.container).stdout.strip()

    def leave(self) -> None:
        """Remove the container and the folder."""
        self.carboy("rm", "-f", "-v", self.container, expect=None)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def example(tier_carboy: Carboy, request: pytest.FixtureRequest) -> Iterator[Example]:
    """Return the example that the test's name names, built."""
    name = next(name for name in NAMES if request.node.originalname == f"test_{name.replace('-', '_')}")
    made = Example(tier_carboy, name)
    try:
        made.build()
        yield made
    finally:
        made.leave()


# --- every day ----------------------------------------------------------------------------------------------------------


def test_there_are_ten() -> None:
    assert len(NAMES) == 10
    for name in NAMES:
        assert f"\ndef test_{name.replace('-', '_')}(" in Path(__file__).read_text(), name


@pytest.mark.parametrize("name", NAMES)
def test_each_says_how_it_is_built_and_run(name: str) -> None:
    *builds, start = read_commands(name)
    assert all(words[0] == "build" and words[-1] == "." for words in builds)
    assert start[0] == "run"
    assert builds[-1][builds[-1].index("-t") + 1] in start


@pytest.mark.userns
@pytest.mark.parametrize("name", NAMES)
def test_the_build_checks_find_nothing(carboy: Carboy, name: str) -> None:
    assert "no warnings" in carboy("build", "--check", str(EXAMPLES / name)).stdout


# --- built and run ------------------------------------------------------------------------------------------------------


@in_every_tier
def test_c_static(example: Example) -> None:
    assert example.run() == "pi is about 3.137 after 100000 darts\n"
    assert example.run("c-static") == "pi is about 3.141 after 1000000 darts\n"
    (image,) = json.loads(example.carboy("inspect", "c-static").stdout)
    assert len(image["Layers"]) == 1
    assert image["Size"] < 2_000_000, "the program, and nothing of the compiler"


@in_every_tier
def test_cuda_layout(example: Example) -> None:
    said = example.run().splitlines()
    assert said == [
        "CUDA 12.4 at /usr/local/cuda-12.4, devices asked for: all", "no GPU here: on the CPU", "saxpy: 1 3 ... 1999",
    ]  # fmt: skip
    # Linked against the stub, it starts where there is a driver: here the stub itself, which says what it is.
    stub = "ln -s /usr/local/cuda/lib64/stubs/libcuda.so /tmp/libcuda.so.1; LD_LIBRARY_PATH=/tmp driver || true"
    assert example.run("cuda-layout", "sh", "-c", stub) == "driver: status 34, 0 devices\n"


@in_tiers("root", "single")
def test_compiled_wheel(example: Example) -> None:
    assert re.fullmatch(r"3, counted by _distance\.cpython-311-.*\.so\n", example.run())
    assert example.run("compiled-wheel", "intention", "execution").startswith("5,")
    found = example.run("--entrypoint", "sh", "compiled-wheel", "-c", "ls -d /src /wheels; command -v gcc pip; id -un")
    assert found == "nobody\n"


@in_root
def test_test_stage(example: Example) -> None:
    assert "3 passed" in example.log
    assert example.run() == "2024-02-26\n2024-03-04\n"
    missing = example.carboy("run", "--rm", "--entrypoint", "python", "weeks", "-m", "pytest", expect=1).stderr
    assert "No module named pytest" in missing
    # A test that fails: its stage does not come about, and says why; the image, which does not need it, does.
    (example.folder / "weeks.py").write_text((example.folder / "weeks.py").read_text().replace("// 7 + 1", "// 7"))
    failed = example.carboy("build", "--target", "test", ".", cwd=example.folder, expect=1).stderr
    assert "test_leap_year" in failed
    assert "ended with status 1" in failed
    example.carboy("build", "-t", "weeks", ".", cwd=example.folder)
    assert example.run() == "2024-02-26\n"


@in_root
def test_sklearn_service(example: Example) -> None:
    example.serve()
    wine = [13, 1.5, 2.3, 15, 110, 2.6, 2.8, 0.3, 1.8, 5, 1, 3.1, 1000]
    assert json.loads(example.ask("/predict", {"features": wine})) == {"class": "class_0", "probability": 0.92}
    assert "13 features are needed" in example.ask("/predict", {"features": [1]}, status=422)
    assert json.loads(example.ask("/model"))["accuracy"] > 0.95
    assert example.exec("id", "-u") == "10001\n"
    wait_for(lambda: example.health() == "healthy", patience_s=15)  # by the start interval, of one second


@in_root
def test_r_plumber(example: Example) -> None:
    example.serve()
    assert json.loads(example.ask("/predict?speed=20")) == {"speed": 20, "distance": 61.0691}
    assert json.loads(example.ask("/model")) == {"intercept": -17.5791, "slope": 3.9324, "r_squared": 0.6511}
    assert json.loads(example.ask("/predict?speed=fast", status=400)) == {"error": "speed is a number"}
    assert example.exec("id", "-un") == "nobody\n"


@in_root
def test_jupyter(example: Example) -> None:
    example.serve()
    assert "version" in json.loads(example.ask("/api"))
    example.ask("/api/contents", status=403)
    listed = json.loads(example.ask("/api/contents?token=choose-one"))
    assert [item["name"] for item in listed["content"]] == ["sunshine.ipynb"]
    executed = example.exec("jupyter", "nbconvert", "--to", "markdown", "--execute", "--stdout", "sunshine.ipynb")
    assert "half of 1610 hours are over in month 6" in executed
    assert "choose-one" not in example.carboy("logs", example.container).stdout


@in_root
def test_cron(example: Example) -> None:
    example.serve()
    assert example.exec("report") == "report: 0 values of 0 files\n"
    # The next minute is cron's own.
    example.exec("sh", "-c", "seq 1 9 > /data/inbox/first.csv")
    # Until then: that what `apt-get install` leaves is the same again, where its logs are removed.
    assert example.carboy("verify", "-q", "cron", timeout_s=300).returncode == 0
    wait_for(lambda: "report: 9 values of 1 files" in example.carboy("logs", example.container).stdout, patience_s=75)
    entry = json.loads(example.exec("cat", "/data/report.jsonl"))
    assert (entry["n"], entry["mean"]) == (9, 5.0)


@in_root
def test_streamlit(example: Example) -> None:
    example.serve()
    assert example.ask("/_stcore/health") == "ok"
    assert "<title>Streamlit</title>" in example.ask("/")
    # The script itself, as Streamlit's own tests run it.
    script = (
        "from streamlit.testing.v1 import AppTest as T; at = T.from_file('app.py').run(); print(at.metric[0].value)"
    )
    assert example.exec("python", "-c", script).splitlines()[-1] == "2.01"
    wait_for(lambda: example.health() == "healthy", patience_s=20)


@in_root
def test_web_frontend(example: Example) -> None:
    assert "histogram: ok" in example.log
    example.serve()
    page = example.ask("/")
    (script,) = re.findall(r'src="(assets/main-[0-9a-f]{8}\.js)"', page)
    assert "parseFloat" in example.ask(f"/{script}")
    assert example.ask("/nowhere") == page
    assert example.exec("id", "-un") == "www-data\n"
    absent = "command -v node esbuild gcc || echo none"
    assert example.exec("sh", "-c", absent) == "none\n"
    example.carboy("stop", example.container)
    status = example.carboy("inspect", "-f", "{{.State.ExitCode}}", example.container).stdout
    assert status == "0\n", "by the stop signal of the Dockerfile it ends in peace"
