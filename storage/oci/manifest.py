"""OCI image-spec, image manifest; docker image manifest, schema 2."""

from storage.errors import InvalidDocument
from storage.oci.checks import as_object, get_list, get_string_map, get_text
from storage.oci.descriptor import (
    DOCKER_CONFIG,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    check_one_meaning,
    check_schema_version,
    layer_compression,
)
from storage.record import NamedTuple

LAYERS_LIMIT = 1000
_OCI_LAYERS = {"none": OCI_LAYER, "gzip": OCI_LAYER_GZIP, "zstd": OCI_LAYER_ZSTD}


class Manifest(NamedTuple):
    """One image for one platform: its configuration and its layers, the lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: dict[str, str]

    @classmethod
    def from_json(cls, raw: object, where: str) -> "Manifest":
        """Check an image manifest. Raises InvalidDocument."""
        fields = as_object(raw, where)
        check_schema_version(fields, where)
        check_one_meaning(fields, where)
        config = Descriptor.from_json(fields.get("config"), f"{where}.config")
        if config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
            raise InvalidDocument(
                f"{where}.config.mediaType: {config.media_type[:100]!r} is not a container image"
            )
        raw_layers = get_list(fields, "layers", where)
        if len(raw_layers) > LAYERS_LIMIT:
            raise InvalidDocument(f"{where}.layers: more than {LAYERS_LIMIT} layers")
        layers = tuple(
            Descriptor.from_json(entry, f"{where}.layers[{position}]")
            for position, entry in enumerate(raw_layers)
        )
        for position, layer in enumerate(layers):
            if not layer_compression(layer.media_type):
                raise InvalidDocument(
                    f"{where}.layers[{position}].mediaType: {layer.media_type[:100]!r} is not"
                    " a layer that can be unpacked"
                )
        guessed = DOCKER_MANIFEST if config.media_type == DOCKER_CONFIG else OCI_MANIFEST
        media_type = get_text(fields, "mediaType", where) or guessed
        if media_type not in (OCI_MANIFEST, DOCKER_MANIFEST):
            raise InvalidDocument(
                f"{where}.mediaType: {media_type[:100]!r} is not an image manifest"
            )
        return cls(media_type, config, layers, get_string_map(fields, "annotations", where))

    def as_oci(self) -> "Manifest":
        """Return the manifest with the media types of the OCI; blobs are the same in both."""
        layers = tuple(
            layer._replace(media_type=_OCI_LAYERS[layer_compression(layer.media_type)], urls=())
            for layer in self.layers
        )
        config = self.config._replace(media_type=OCI_CONFIG)
        return self._replace(media_type=OCI_MANIFEST, config=config, layers=layers)

    def to_json(self) -> dict[str, object]:
        """Return the manifest as a JSON object."""
        found: dict[str, object] = {
            "schemaVersion": 2,
            "mediaType": self.media_type,
            "config": self.config.to_json(),
            "layers": [layer.to_json() for layer in self.layers],
        }
        if self.annotations:
            found["annotations"] = self.annotations
        return found
