"""``ps --filter``: pure."""

from __future__ import annotations

from carboy.base.filters import has_label, parse_filters, passes
from carboy.engine.containers.manage import ContainerView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Test = Callable[[ContainerView, str], bool]


def _is_of(view: ContainerView, value: str) -> bool:
    """Return whether the container's image is the one named: with its tag or without, or by digest."""
    image = view.config.image.removeprefix("docker.io/library/").removeprefix("docker.io/")
    return value in {image, image.rpartition(":")[0], view.config.image} or view.config.manifest.partition(":")[
        2
    ].startswith(value)


def _has_mount(view: ContainerView, value: str) -> bool:
    """Return whether the container has a volume of this name, or something mounted at this path."""
    from carboy.engine.containers.describe import describe_mounts

    return any(value in {mount["Source"], mount["Destination"]} for mount in describe_mounts(view.config))


TESTS: dict[str, Test] = {
    "status": lambda view, value: view.state.status == value,
    "name": lambda view, value: value in view.name,
    "id": lambda view, value: view.id.startswith(value),
    "label": lambda view, value: has_label(view.config.labels, value),
    "ancestor": _is_of,
    "exited": lambda view, value: view.state.status == "exited" and str(view.state.exit_code) == value,
    "health": lambda view, value: (view.state.health or "none") == value,
    "network": lambda view, value: value in {name for name, *_ in view.config.networks},
    "volume": _has_mount,
}


def filter_containers(views: Sequence[ContainerView], filters: Sequence[str]) -> list[ContainerView]:
    """Return the containers that pass. Raises ``CarboyError`` (2)."""
    wanted = parse_filters(filters, TESTS)
    return [view for view in views if passes(view, wanted, TESTS)]
