"""What a shell's completion offers: names of objects, files, choices."""

import os
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

from rootless.cli import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import click

    from rootless.host.paths import Host


def shells() -> tuple[str, ...]:
    """Return the shells that `rpod completion` knows."""
    return ("bash", "zsh", "fish")


def offer(
    ctx: "click.Context", objects: str, choices: "Sequence[str]", incomplete: str
) -> list[CompletionItem]:
    """Return what can stand for an incomplete word; a store that cannot be read offers nothing."""
    if objects == table.FILES:
        return [CompletionItem(incomplete, type="file")]
    if objects == table.DIRECTORIES:
        return [CompletionItem(incomplete, type="dir")]
    if choices:
        return [CompletionItem(choice) for choice in choices if choice.startswith(incomplete)]
    if not objects:
        return []
    if objects == table.SERVICES:
        return [CompletionItem(one) for one in _services(ctx) if one.startswith(incomplete)]
    settings = ctx.find_root().params
    try:
        names = set(_names(_open(settings.get("root"), settings.get("runroot")), objects))
    except Exception:  # noqa: BLE001 - an error's text would end up on the command line
        return []
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def _services(ctx: "click.Context") -> list[str]:
    """Return the services of the compose file that the command line means, [] without one."""
    from rootless.compose.project import load_project
    from rootless.compose.settings import Options

    given = ctx.parent.params if ctx.parent is not None else {}
    files = [path for paths in given.get("compose_file") or () for path in paths]
    options = Options(files=tuple(files), directory=given.get("compose_project_directory") or "")
    try:
        return sorted(load_project(options, os.environ, os.getcwd()).every())
    except Exception:  # noqa: BLE001 - an error's text would end up on the command line
        return []


def _open(root: str | None, runroot: str | None) -> "Host":
    from rootless.host.paths import open_host

    return open_host(root, runroot, prepare=False)


def _names(host: "Host", objects: str) -> "Iterator[str]":
    if objects in (table.CONTAINERS, table.RUNNING):
        from rootless.container.query import list_views

        for view in list_views(host, all_states=objects == table.CONTAINERS):
            yield view.record.name
    elif objects == table.IMAGES:
        from storage.images import list_entries

        for record in list_entries(host.layout):
            yield from record.names or (record.image_id[:12],)
    else:
        yield from _other_names(host, objects)


def _other_names(host: "Host", objects: str) -> "Iterator[str]":
    if objects == table.VOLUMES:
        from storage.volumes import list_volumes

        for volume in list_volumes(host.layout):
            yield volume.name
    elif objects == table.NETWORKS:
        from storage.networks import list_networks

        for network in list_networks(host.layout):
            yield network.name
    elif objects == table.SECRETS:
        from storage.secrets import list_secrets

        for secret in list_secrets(host.layout):
            yield secret.name
    elif objects == table.PODS:
        from storage.pods import list_pods

        for pod in list_pods(host.layout):
            yield pod.name
