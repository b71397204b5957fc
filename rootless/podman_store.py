"""Where podman keeps this user's images, for `containers-storage:NAME`."""

import os

from rootless.config import load_toml
from rootless.errors import UsageError
from storage.record import NamedTuple
from storage.reference import is_reference, local_candidates

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class PodmanPlace(NamedTuple):
    """A store of podman's, and what an image in it may be called, the best first."""

    root: str
    driver: str
    names: tuple[str, ...]


def locate(environ: "Mapping[str, str]", text: str) -> PodmanPlace:
    """Find podman's store; `text` is an image's name, perhaps after [DRIVER@ROOT].

    Raises UsageError.
    """
    driver, root, name = _split(environ, text)
    names = (*(local_candidates(name) if is_reference(name) else ()), name)
    return PodmanPlace(root, driver, names)


def _split(environ: "Mapping[str, str]", text: str) -> tuple[str, str, str]:
    driver, root = "", ""
    if text.startswith("["):
        place, bracket, text = text[1:].partition("]")
        driver, _, rest = place.rpartition("@")
        root = rest.partition("+")[0]
        if not bracket or not root.startswith("/"):
            raise UsageError("containers-storage:[DRIVER@ROOT]NAME is expected")
    if not text:
        raise UsageError("containers-storage: the image's name is missing")
    configured_driver, configured_root = _configured(environ) if not root else ("", "")
    root = root or configured_root
    return driver or configured_driver or _driver_of(root), root, text


def _configured(environ: "Mapping[str, str]") -> tuple[str, str]:
    """containers-storage.conf(5): the user's file says where, else it is below XDG_DATA_HOME."""
    home = environ.get("HOME", "")
    data = environ.get("XDG_DATA_HOME") or f"{home}/.local/share"
    config = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    path = environ.get("CONTAINERS_STORAGE_CONF") or f"{config}/containers/storage.conf"
    root, driver = f"{data}/containers/storage", ""
    if os.path.exists(path):
        table = load_toml(path).get("storage", {})
        if isinstance(table, dict):
            chosen = table.get("rootless_storage_path") or table.get("graphroot")
            root = os.path.expandvars(chosen) if isinstance(chosen, str) and chosen else root
            found = table.get("driver")
            driver = found if isinstance(found, str) else ""
    return driver, root


def _driver_of(root: str) -> str:
    return "vfs" if os.path.isdir(f"{root}/vfs-images") else "overlay"
