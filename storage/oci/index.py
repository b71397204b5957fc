"""OCI image-spec, image index; docker manifest list."""

from storage.oci.checks import as_object, get_list, get_string_map, get_text
from storage.oci.descriptor import OCI_INDEX, Descriptor, check_one_meaning, check_schema_version
from storage.record import NamedTuple


class Index(NamedTuple):
    """The manifests of one image for several platforms, or of one image layout."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: dict[str, str]

    @classmethod
    def from_json(cls, raw: object, where: str) -> "Index":
        """Check an index. Raises InvalidDocument."""
        fields = as_object(raw, where)
        check_schema_version(fields, where)
        check_one_meaning(fields, where)
        return cls(
            get_text(fields, "mediaType", where) or OCI_INDEX,
            tuple(
                Descriptor.from_json(entry, f"{where}.manifests[{position}]")
                for position, entry in enumerate(get_list(fields, "manifests", where))
            ),
            get_string_map(fields, "annotations", where),
        )

    def to_json(self) -> dict[str, object]:
        """Return the index as a JSON object."""
        found: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "manifests": [entry.to_json() for entry in self.manifests],
        }
        if self.annotations:
            found["annotations"] = self.annotations
        return found
