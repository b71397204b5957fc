"""The record of one image or index, as it lies in `images/`."""

from storage.oci.checks import as_object, get_size, get_string_map, get_strings, get_text
from storage.oci.descriptor import INDEX_TYPES
from storage.record import NamedTuple

RECORD_VERSION = 1


class ImageRecord(NamedTuple):
    """What the store knows about one image; `names`: the one it was found by, or all.

    `store` is the directory of the additional store that has it, empty for the user's own.

    `view_digest` is the manifest that index.json shows: other tools look only for OCI manifests in
    an image layout, so one of docker's has a twin of that type.
    """

    image_id: str
    manifest_digest: str
    config_digest: str
    media_type: str
    diff_ids: tuple[str, ...]
    chain_ids: tuple[str, ...]
    layer_digests: tuple[str, ...]
    layer_media_types: tuple[str, ...]
    size_bytes: int
    created: str
    architecture: str
    os: str
    variant: str
    labels: dict[str, str]
    added_at: str
    view_digest: str
    names: tuple[str, ...] = ()
    store: str = ""

    @property
    def is_index(self) -> bool:
        """Whether it is an index: `layer_digests` are then all the blobs that its entries need."""
        return self.media_type in INDEX_TYPES

    def to_json(self) -> dict[str, object]:
        """Return the record as it is kept on disk: without names, which are files of their own."""
        found: dict[str, object] = {"version": RECORD_VERSION, **self._asdict()}
        del found["names"], found["store"]
        return found

    @classmethod
    def from_json(cls, raw: object, where: str) -> "ImageRecord":
        """Check a record. Raises InvalidDocument."""
        fields = as_object(raw, where)

        def text(key: str) -> str:
            return get_text(fields, key, where)

        def texts(key: str) -> tuple[str, ...]:
            return get_strings(fields, key, where) or ()

        return cls(
            image_id=text("image_id"),
            manifest_digest=text("manifest_digest"),
            config_digest=text("config_digest"),
            media_type=text("media_type"),
            diff_ids=texts("diff_ids"),
            chain_ids=texts("chain_ids"),
            layer_digests=texts("layer_digests"),
            layer_media_types=texts("layer_media_types"),
            size_bytes=get_size(fields, "size_bytes", where),
            created=text("created"),
            architecture=text("architecture"),
            os=text("os"),
            variant=text("variant"),
            labels=get_string_map(fields, "labels", where),
            added_at=text("added_at"),
            view_digest=text("view_digest") or text("manifest_digest"),
        )


def all_digests(record: ImageRecord) -> tuple[str, ...]:
    """Return the digests of every blob that an image needs."""
    digests = (
        *record.layer_digests,
        record.config_digest,
        record.view_digest,
        record.manifest_digest,
    )
    return tuple(dict.fromkeys(digests))
