"""OCI image-spec, image configuration; on the path of `rpod run`, so it loads nothing heavy."""

from storage.digest import check_digest
from storage.errors import InvalidDocument
from storage.oci.checks import (
    as_object,
    get_list,
    get_object,
    get_string_map,
    get_strings,
    get_text,
    wrong,
)
from storage.record import NamedTuple


class ImageConfig(NamedTuple):
    """What an image says about its platform, its process and its history.

    `cmd`, `entrypoint` and `shell` are None where the image does not set them; `healthcheck` and
    `history` are as in the document; `raw` is the whole document.
    """

    architecture: str
    os: str
    variant: str
    created: str
    author: str
    env: tuple[str, ...]
    cmd: tuple[str, ...] | None
    entrypoint: tuple[str, ...] | None
    user: str
    working_dir: str
    exposed_ports: tuple[str, ...]
    volumes: tuple[str, ...]
    labels: dict[str, str]
    stop_signal: str
    healthcheck: dict[str, object] | None
    shell: tuple[str, ...] | None
    diff_ids: tuple[str, ...]
    history: tuple[dict[str, object], ...]
    raw: dict[str, object]

    @classmethod
    def from_json(cls, raw: object, where: str) -> "ImageConfig":
        """Check an image configuration. Raises InvalidDocument."""
        fields = as_object(raw, where)
        config = get_object(fields, "config", where)
        place = f"{where}.config"
        return cls(
            architecture=get_text(fields, "architecture", where),
            os=get_text(fields, "os", where, "linux") or "linux",
            variant=get_text(fields, "variant", where),
            created=get_text(fields, "created", where),
            author=get_text(fields, "author", where),
            env=_environment(config, place),
            cmd=get_strings(config, "Cmd", place),
            entrypoint=get_strings(config, "Entrypoint", place),
            user=get_text(config, "User", place),
            working_dir=get_text(config, "WorkingDir", place),
            exposed_ports=tuple(get_object(config, "ExposedPorts", place)),
            volumes=_volumes(config, place),
            labels=get_string_map(config, "Labels", place),
            stop_signal=get_text(config, "StopSignal", place),
            healthcheck=get_object(config, "Healthcheck", place) or None,
            shell=get_strings(config, "Shell", place),
            diff_ids=_diff_ids(fields, where),
            history=_history(fields, where),
            raw=fields,
        )


def _environment(config: dict[str, object], where: str) -> tuple[str, ...]:
    entries = get_strings(config, "Env", where) or ()
    for position, entry in enumerate(entries):
        if not entry.partition("=")[0]:
            raise InvalidDocument(f"{where}.Env[{position}]: the variable has no name")
    return entries


def _volumes(config: dict[str, object], where: str) -> tuple[str, ...]:
    paths = tuple(get_object(config, "Volumes", where))
    for path in paths:
        if not path.startswith("/") or "\0" in path:
            raise InvalidDocument(f"{where}.Volumes: {path[:100]!r} is not an absolute path")
    return paths


def _diff_ids(fields: dict[str, object], where: str) -> tuple[str, ...]:
    rootfs = get_object(fields, "rootfs", where)
    kind = get_text(rootfs, "type", f"{where}.rootfs", "layers")
    if kind != "layers":
        raise InvalidDocument(f'{where}.rootfs.type: "layers" is expected, found {kind[:40]!r}')
    return tuple(
        check_digest(entry, f"{where}.rootfs.diff_ids[{position}]")
        for position, entry in enumerate(get_list(rootfs, "diff_ids", f"{where}.rootfs"))
    )


def _history(fields: dict[str, object], where: str) -> tuple[dict[str, object], ...]:
    entries = []
    for position, entry in enumerate(get_list(fields, "history", where)):
        if not isinstance(entry, dict):
            raise wrong(f"{where}.history[{position}]", "an object", entry)
        entries.append(entry)
    return tuple(entries)
