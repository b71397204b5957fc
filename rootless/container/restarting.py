"""The start that a restart policy asks for, in the process that the ended monitor has left."""

import os

from rootless.container.lifecycle import start
from rootless.container.restart import delay_s, sleep, wants_restart
from rootless.errors import RootlessError
from rootless.host.paths import open_host
from storage import lightjson as json
from storage.containers import find_container
from storage.errors import StorageError


def main(text: str) -> None:
    """Start the container, and try again where its policy says so. Never returns."""
    try:
        words = json.loads(text)
        host = open_host(words["store"], words["run_root"])
        count = words["count"]
        while True:
            try:
                start(host, words["id"], restart_count=count)
                break
            except StorageError:
                break  # it has been removed
            except RootlessError as error:
                # A port that is still taken, a source that is not mounted yet.
                found = find_container(host.layout, words["id"])
                tried = found.state._replace(restart_count=count)
                count += 1
                if not wants_restart(found.record.restart, tried, error.exit_code):
                    break
                if not sleep(found, found.state, delay_s(count)):
                    break
    finally:
        os._exit(0)
