"""What the health checks of a container have found: read by everybody, written by the checks."""

from storage import lightjson as json
from storage.containers import ContainerView
from storage.files import read_file, write_file

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"


def read_health(found: ContainerView) -> dict[str, object]:
    """Return what was found since the container was started: podman's names, and our own."""
    try:
        raw = json.loads(read_file(found.paths.health))
    except (OSError, ValueError):
        raw = None
    if not isinstance(raw, dict) or raw.get("started_at") != found.state.started_at:
        return {
            "started_at": found.state.started_at,
            "Status": STARTING,
            "FailingStreak": 0,
            "Log": [],
        }
    return raw


def write_health(found: ContainerView, health: dict[str, object]) -> None:
    """Replace what was found. Raises OSError."""
    write_file(found.paths.health, json.dumps(health).encode(), sync=False)


def health_status(found: ContainerView) -> str:
    """Return starting, healthy or unhealthy; "" for a container without checks."""
    return "" if found.record.health is None else str(read_health(found).get("Status", ""))
