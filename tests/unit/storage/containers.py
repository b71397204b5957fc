"""Containers put straight into a store, for tests that start none."""

import os
import time

from storage.containers import (
    ContainerRecord,
    ContainerView,
    new_id,
    take_name,
    view,
    write_record,
)
from storage.files import make_store
from storage.layout import Layout


def make_record(name: str, **changes: object) -> ContainerRecord:
    """Return the record of a plain container."""
    seconds, fraction = divmod(time.time_ns(), 1_000_000_000)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    plain = ContainerRecord(
        id=new_id(),
        name=name,
        created_at=f"{moment}.{fraction:09d}+00:00",
        image_name="localhost/image:1",
        image_id="1" * 64,
        image_digest="sha256:" + "2" * 64,
        command=("sh", "-c", "true"),
        map_key="0123456789abcdef",
        chain_ids=("sha256:" + "3" * 64,),
        uid_map=((0, 1000, 1), (1, 100000, 65536)),
        gid_map=((0, 1000, 1), (1, 100000, 65536)),
        driver="overlay",
        network="slirp4netns",
        ports=(),
        mounts=(),
        labels={},
        annotations={},
        stop_signal=15,
        stop_timeout_s=10,
        timeout_s=0,
        tty=False,
        interactive=False,
        auto_remove=False,
        init=False,
        log_driver="k8s-file",
        anonymous_volumes=(),
        cidfile="",
        pidfile="",
        request={},
    )
    return plain._replace(**changes)  # type: ignore[arg-type]


def add_container(layout: Layout, name: str, **changes: object) -> ContainerView:
    """Put a container into a store, which is made if needed, and give it its name."""
    os.makedirs(layout.run_root, exist_ok=True)
    make_store(layout)
    record = make_record(name, **changes)
    os.makedirs(layout.container(record.id).directory)
    write_record(layout.container(record.id), record, sync=False)
    take_name(layout, name, record.id, sync=False)
    return view(layout, record)
