from typing import Any

from carboy.containers.record import ContainerConfig, ContainerState
from carboy.engine.containers.describe import NEVER, describe_container, describe_ports
from carboy.engine.containers.manage import ContainerView


def view(state: ContainerState, **changes: Any) -> ContainerView:
    values: dict[str, Any] = {
        "id": "a" * 64,
        "image": "docker.io/library/iris:1",
        "manifest": f"sha256:{'b' * 64}",
        "layers": (),
        "created_at_s": 1_700_000_000.0,
        "args": ("python", "-m", "train"),
        "entrypoint": ("python",),
        **changes,
    }
    return ContainerView(config=ContainerConfig(**values), state=state, name="web", folder="/home/containers/x")


def test_the_shape_is_dockers():
    found = describe_container(
        view(
            ContainerState(status="running", pid=7, started_at_s=1_700_000_001.5, restarts=2),
            limits=(("memory", "100m"), ("cpus", "1.5")),
            restart="on-failure:3",
            labels=(("a", "b"),),
        )
    )
    assert found["Name"] == "/web"
    assert found["Path"] == "python"
    assert found["Args"] == ["-m", "train"]
    assert found["Config"]["Cmd"] == ["-m", "train"]
    assert found["Config"]["Entrypoint"] == ["python"]
    assert found["State"]["Status"] == "running"
    assert found["State"]["Running"] is True
    assert found["State"]["StartedAt"] == "2023-11-14T22:13:21.500000Z"
    assert found["State"]["FinishedAt"] == NEVER
    assert "Health" not in found["State"]
    assert found["HostConfig"]["Memory"] == 100 * 2**20
    assert found["HostConfig"]["NanoCpus"] == 1_500_000_000
    assert found["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert found["RestartCount"] == 2
    assert found["LogPath"] == "/home/containers/x/log"


def test_health_is_there_when_it_is_checked():
    state = ContainerState(
        status="running", health="unhealthy", health_failures=3, health_log=((1.0, 2.0, 1, "no answer"),)
    )
    health = describe_container(view(state, health_test=("true",)))["State"]["Health"]
    assert health["Status"] == "unhealthy"
    assert health["FailingStreak"] == 3
    assert health["Log"][0]["Output"] == "no answer"


def test_ports_that_are_bound_and_those_that_are_not():
    config = view(ContainerState(status="created"), publish=("8080:80", "53/udp")).config
    assert describe_ports(config, ContainerState(status="exited")) == {"80/tcp": None, "53/udp": None}
    bound = describe_ports(config, ContainerState(status="running", ports=("127.0.0.1:8080:80/tcp",)))
    assert bound["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "8080"}]


def test_mounts_by_their_texts_and_no_secret():
    mounts = (("volume", "/data:/in:ro"), ("volume", "cache:/c"), ("tmpfs", "/t:size=1m"), ("secret", "/k:key"),
              ("mount", "type=bind,src=/a,target=/b,readonly"),
              ("mount", 'type=bind,"src=/x,y",target=/z'))  # fmt: skip
    found = describe_container(view(ContainerState(status="created"), mounts=mounts))["Mounts"]
    assert [(m["Type"], m["Source"], m["Destination"], m["RW"]) for m in found] == [
        ("bind", "/data", "/in", False),
        ("volume", "cache", "/c", True),
        ("tmpfs", "", "/t", True),
        ("bind", "/a", "/b", False),
        ("bind", "/x,y", "/z", True),
    ]
