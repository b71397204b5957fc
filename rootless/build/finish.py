"""The end of a build: what has been built becomes images, lists, files, as was asked for."""

import json
import os

from rootless.build.model import Built
from rootless.build.outputs import (
    DOCKER,
    IMAGE,
    LOCAL,
    OCI,
    REGISTRY,
    TAR,
    ImageForm,
    Output,
    StoredImage,
    check_files,
    full_name,
    parse_output,
    store_image,
    write_iidfile,
    write_metadata,
    writes_to_stdout,
)
from rootless.build.request import BuildRequest
from rootless.build.workplace import Workplace
from rootless.errors import UsageError
from rootless.images import PullSettings
from rootless.pushing import push
from storage import event_log
from storage.blobs import write_blob
from storage.images import ImageRecord, untag_image
from storage.lists import create_list, describe_entry, describe_list, edit_list, put_entry
from storage.names import name_target
from storage.oci.checks import get_list
from storage.oci.descriptor import OCI_INDEX
from storage.record import NamedTuple
from storage.save import SavedImage
from storage.tar_writer import Times

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_TREES = (LOCAL, TAR)


class Finished(NamedTuple):
    """What a build has left in the store: images, and the one record to show, None for none."""

    images: tuple[StoredImage, ...]
    record: ImageRecord | None


def check_request(request: BuildRequest) -> tuple[Output, ...]:
    """Refuse before the build what could not be done after it. Raises UsageError."""
    outputs = tuple(parse_output(text) for text in request.outputs)
    check_files(request.iidfile, request.metadata_file)
    for name in (*request.tags, *([request.manifest] if request.manifest else [])):
        full_name(name)
    if sum(writes_to_stdout(output) for output in outputs) > 1:
        raise UsageError("--output: only one result can go to standard output")
    for option, texts in (("--cache-from", request.cache_from), ("--cache-to", request.cache_to)):
        for text in texts:
            from rootless.build.shared_cache import check_repository

            check_repository(option, text)
    for output in outputs:
        if output.kind not in _TREES:
            check_files(output.destination)
        if output.kind == DOCKER and output.destination and len(request.platforms) > 1:
            raise UsageError(
                "--output type=docker: docker's archives are for one platform",
                remedy="use type=oci, or build one platform",
            )
        if output.kind == TAR and len(request.platforms) > 1:
            raise UsageError(
                "--output type=tar: it is for one platform",
                remedy="use type=local: each platform gets a directory",
            )
        if (output.kind == REGISTRY or output.push) and not (output.name or request.tags):
            raise UsageError("--output: nothing says where to push", remedy="add -t, or name=NAME")
    return outputs


def finish(
    workplace: Workplace,
    request: BuildRequest,
    built: "Sequence[tuple[Built, int]]",
    outputs: "Sequence[Output]",
) -> Finished:
    """Write what was asked for; `built` has for each platform also the layers of its base.

    Raises UsageError, InvalidReference, RegistryError, StoreUnusable, DiskFull.
    """
    options = request.layer_options
    times = Times(options.latest_s, options.exact)
    for output in outputs:
        if output.kind in _TREES:
            for one, _ in built:
                below = one.platform.replace("/", "_") if len(built) > 1 else ""
                from rootless.build.export import export_tree

                export_tree(workplace, one, output, times=times, below=below)
    if not _keeps_image(request, outputs):
        return Finished((), None)
    names = tuple(dict.fromkeys([*request.tags, *_names_of(outputs)]))
    several = len(built) > 1
    images = tuple(
        store_image(workplace, one, _form(request, times, base), () if several else names)
        for one, base in built
    )
    record = images[-1].record
    if several:
        for name in names:
            record = _make_list(workplace, name, images, keep=False)
    if request.manifest:
        record = _make_list(workplace, request.manifest, images, keep=True)
    whole = images[-1].record
    if several:
        whole = record if record.is_index else _unnamed_list(workplace, images)
    _send(workplace, request, SavedImage(whole, tuple(full_name(name) for name in names)), outputs)
    if request.iidfile:
        write_iidfile(request.iidfile, record.image_id)
    if request.metadata_file:
        write_metadata(request.metadata_file, images, record, names)
    event_log.image_event(
        workplace.host.layout.run_root, "build", image_id=record.image_id, name=record.image_id
    )
    return Finished(images, record)


def _keeps_image(request: BuildRequest, outputs: "Sequence[Output]") -> bool:
    """Tell whether an image is wanted, and not only files."""
    if not outputs or request.tags or request.manifest or request.iidfile:
        return True
    return bool(request.metadata_file) or any(output.kind not in _TREES for output in outputs)


def _names_of(outputs: "Sequence[Output]") -> list[str]:
    return [
        name
        for output in outputs
        if output.kind in (IMAGE, REGISTRY, DOCKER) and not output.destination and output.name
        for name in output.name.split(",")
    ]


def _form(request: BuildRequest, times: Times, base_layers: int) -> ImageForm:
    annotations = dict(text.partition("=")[::2] for text in request.annotations)
    return ImageForm(
        docker=request.docker,
        annotations=annotations,
        timestamp_s=request.timestamp_s,
        times=times,
        squash=request.squash or not request.layers,
        squash_all=request.squash_all,
        base_layers=base_layers,
        omit_history=request.omit_history,
    )


def _make_list(
    workplace: Workplace, name: str, images: "Sequence[StoredImage]", *, keep: bool
) -> ImageRecord:
    """Make a list of images; with `keep` one that is there keeps what it has for others."""
    layout = workplace.layout
    full = full_name(name)
    entries = [describe_entry(one.record, one.documents.manifest_size) for one in images]

    def change(document: "dict[str, object]") -> None:
        known = get_list(document, "manifests", "index")
        platforms = [entry["platform"] for entry in entries]
        document["manifests"] = [
            one for one in known if isinstance(one, dict) and one.get("platform") not in platforms
        ]
        for entry in entries:
            put_entry(document, entry)

    if name_target(layout, full):
        if keep:
            return edit_list(layout, full, change)
        untag_image(layout, full, (full,))
    return create_list(layout, full, entries)


def _unnamed_list(workplace: Workplace, images: "Sequence[StoredImage]") -> ImageRecord:
    """Make a list for an archive; nothing in the store needs it afterwards."""
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    for one in images:
        put_entry(document, describe_entry(one.record, one.documents.manifest_size))
    data = json.dumps(document, separators=(",", ":")).encode()
    return describe_list(workplace.layout, write_blob(workplace.layout, data))


def _send(
    workplace: Workplace, request: BuildRequest, image: SavedImage, outputs: "Sequence[Output]"
) -> None:
    for output in outputs:
        if output.kind in (OCI, DOCKER) and output.destination:
            from rootless.build.export import export_image

            export_image(workplace, image, output)
        elif output.push:
            settings = PullSettings(
                tls_verify=request.tls_verify,
                authfile=request.authfile,
                creds=request.creds,
                ca_dir=request.ca_dir,
                retries=request.retries,
                retry_delay_s=request.retry_delay_s,
            )
            for name in output.name.split(",") if output.name else request.tags:
                push(workplace.host, name, None, settings)


def source_date_epoch(request: BuildRequest, text: str) -> int | None:
    """Return the time that the option, a build argument or the environment asks for.

    https://reproducible-builds.org/specs/source-date-epoch. Raises UsageError.
    """
    name = "SOURCE_DATE_EPOCH"
    text = text or request.build_args.get(name, "") or os.environ.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 11:
        raise UsageError(f"{name}={text[:40]}: seconds since 1970 are expected")
    return int(text)
