import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidDocument
from storage.images import check_layer_counts
from storage.oci.checks import DOCUMENT_LIMIT_BYTES, parse_json
from storage.oci.config import ImageConfig
from storage.oci.descriptor import Descriptor, layer_compression
from storage.oci.index import Index
from storage.oci.manifest import Manifest

DIGEST = "sha256:" + "ab" * 32
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 7}
MANIFEST = {
    "schemaVersion": 2,
    "mediaType": "application/vnd.oci.image.manifest.v1+json",
    "config": {
        "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": DIGEST,
        "size": 3,
    },
    "layers": [LAYER],
    "annotations": {"a": "b"},
}
CONFIG = {
    "architecture": "arm64",
    "variant": "v8",
    "os": "linux",
    "created": "2024-01-01T00:00:00Z",
    "config": {
        "Env": ["PATH=/bin", "EMPTY="],
        "Cmd": ["sh"],
        "Entrypoint": None,
        "User": "1000:1000",
        "WorkingDir": "/w",
        "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}},
        "Labels": {"a": "b", "none": None},
        "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["NONE"]},
    },
    "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
    "history": [{"created_by": "x"}],
}


def test_manifest_survives_a_round_trip() -> None:
    assert Manifest.from_json(MANIFEST, "manifest").to_json() == MANIFEST


def test_manifest_without_media_type_is_guessed_by_its_configuration() -> None:
    raw = copy.deepcopy(MANIFEST)
    del raw["mediaType"]
    raw["config"] = {**LAYER, "mediaType": "application/vnd.docker.container.image.v1+json"}
    manifest = Manifest.from_json(raw, "manifest")
    assert manifest.media_type == "application/vnd.docker.distribution.manifest.v2+json"
    assert manifest.as_oci().media_type == MANIFEST["mediaType"]
    assert manifest.as_oci().config.digest == manifest.config.digest


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("layers", 0, "digest"), 5, r"manifest\.layers\[0\]\.digest: "),
        (("layers", 0, "digest"), "sha256:..", r"manifest\.layers\[0\]\.digest: "),
        (("layers", 0, "size"), "7", r"manifest\.layers\[0\]\.size: a number"),
        (("layers", 0, "size"), -1, r"manifest\.layers\[0\]\.size: "),
        (("layers", 0, "size"), True, r"manifest\.layers\[0\]\.size: a number"),
        (("layers", 0, "mediaType"), "text/html", r"manifest\.layers\[0\]\.mediaType: "),
        (("layers", 0, "urls"), "http://x", r"manifest\.layers\[0\]\.urls: an array"),
        (("layers", 0), [], r"manifest\.layers\[0\]: an object"),
        (("layers",), {}, r"manifest\.layers: an array"),
        (("layers",), [LAYER] * 1001, r"manifest\.layers: more than"),
        (("config",), None, r"manifest\.config: an object"),
        (("config", "mediaType"), "x", r"manifest\.config\.mediaType: "),
        (("schemaVersion",), 1, "schema 1"),
        (("schemaVersion",), "2", r"manifest\.schemaVersion: "),
        (("mediaType",), "x", r"manifest\.mediaType: "),
        (("annotations",), {"a": 1}, r"manifest\.annotations\['a'\]: a string"),
    ],
)
def test_wrong_manifest_names_the_place(
    path: tuple[str | int, ...], value: object, place: str
) -> None:
    raw = copy.deepcopy(MANIFEST)
    _set(raw, path, value)
    with pytest.raises(InvalidDocument, match=place):
        Manifest.from_json(raw, "manifest")


def test_config_is_read_whole() -> None:
    config = ImageConfig.from_json(CONFIG, "config")
    assert config.env == ("PATH=/bin", "EMPTY=")
    assert config.cmd == ("sh",)
    assert config.entrypoint is None
    assert config.volumes == ("/data",)
    assert config.exposed_ports == ("80/tcp",)
    assert config.labels == {"a": "b", "none": ""}
    assert config.diff_ids == (DIGEST,)
    assert config.raw is CONFIG


def test_empty_config_has_defaults() -> None:
    config = ImageConfig.from_json({"config": None, "rootfs": {}}, "config")
    assert (config.os, config.cmd, config.env, config.diff_ids) == ("linux", None, (), ())


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        (("config", "Env"), ["=x"], r"config\.config\.Env\[0\]: "),
        (("config", "Env"), [1], r"config\.config\.Env\[0\]: a string"),
        (("config", "Env"), ["a=\0"], r"config\.config\.Env\[0\]: a NUL"),
        (("config", "Env"), "A=1", r"config\.config\.Env: an array"),
        (("config", "Cmd"), "sh", r"config\.config\.Cmd: an array"),
        (("config", "User"), 0, r"config\.config\.User: a string"),
        (("config", "Volumes"), ["/x"], r"config\.config\.Volumes: an object"),
        (("config", "Volumes"), {"../x": {}}, r"config\.config\.Volumes: "),
        (("config", "Healthcheck"), 1, r"config\.config\.Healthcheck: an object"),
        (("config",), [], r"config\.config: an object"),
        (("rootfs", "diff_ids"), ["x"], r"config\.rootfs\.diff_ids\[0\]: "),
        (("rootfs", "type"), "squashfs", r"config\.rootfs\.type: "),
        (("history",), [1], r"config\.history\[0\]: an object"),
    ],
)
def test_wrong_config_names_the_place(
    path: tuple[str | int, ...], value: object, place: str
) -> None:
    raw = copy.deepcopy(CONFIG)
    _set(raw, path, value)
    with pytest.raises(InvalidDocument, match=place):
        ImageConfig.from_json(raw, "config")


def test_layers_and_diff_ids_must_be_as_many() -> None:
    manifest = Manifest.from_json(MANIFEST, "manifest")
    config = ImageConfig.from_json({**CONFIG, "rootfs": {"diff_ids": [DIGEST] * 2}}, "config")
    with pytest.raises(InvalidDocument, match="2 diff_ids for the 1 layers"):
        check_layer_counts(manifest, config)


def test_index_reads_platforms() -> None:
    entry = {**LAYER, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}}
    index = Index.from_json({"schemaVersion": 2, "manifests": [entry]}, "index")
    assert index.manifests[0].platform is not None
    assert index.manifests[0].platform.variant == "v7"
    assert Descriptor.from_json(index.manifests[0].to_json(), "x") == index.manifests[0]


@pytest.mark.parametrize(
    ("media_type", "compression"),
    [
        ("application/vnd.oci.image.layer.v1.tar", "none"),
        ("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", "gzip"),
        ("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "gzip"),
        ("application/vnd.docker.image.rootfs.diff.tar.zstd", "zstd"),
        ("application/vnd.oci.image.layer.v1.tar+zstd", "zstd"),
        ("application/json", ""),
    ],
)
def test_layer_compression(media_type: str, compression: str) -> None:
    assert layer_compression(media_type) == compression


@pytest.mark.parametrize(
    "data",
    [b"", b"<html>", b"{", b"\xff", b"[" * 200_000, b" " * (DOCUMENT_LIMIT_BYTES + 1)],
    ids=["empty", "html", "cut", "binary", "deep", "large"],
)
def test_what_is_no_document_is_a_clear_error(data: bytes) -> None:
    with pytest.raises(InvalidDocument, match=r"^manifest of x: "):
        parse_json(data, "manifest of x")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=10,
)


@given(
    st.sampled_from([Manifest.from_json, ImageConfig.from_json, Index.from_json]),
    st.sampled_from([MANIFEST, CONFIG]),
    st.data(),
)
def test_any_change_is_accepted_or_a_clear_error(
    read: object, base: dict[str, object], data: st.DataObject
) -> None:
    raw = json.loads(json.dumps(base))
    key = data.draw(st.sampled_from(sorted(base)))
    if isinstance(raw[key], dict) and raw[key]:
        inner = data.draw(st.sampled_from(sorted(raw[key])))
        raw[key][inner] = data.draw(_json)
    else:
        raw[key] = data.draw(_json)
    assert callable(read)
    try:
        read(raw, "document")
    except InvalidDocument as error:
        assert error.message.startswith("document")


def _set(raw: object, path: tuple[str | int, ...], value: object) -> None:
    for key in path[:-1]:
        raw = raw[key]  # type: ignore[index]
    raw[path[-1]] = value  # type: ignore[index]


@pytest.mark.parametrize("text", ['{"a": "\\ud800"}', '{"\\udfff": 1}', '[["\\udc00x"]]'])
def test_text_that_is_no_unicode_is_refused(text: str) -> None:
    with pytest.raises(InvalidDocument, match="surrogate"):
        parse_json(text.encode(), "document")


def test_pair_of_surrogates_is_a_character() -> None:
    assert parse_json(b'["\\ud83d\\ude00"]', "document") == ["\U0001f600"]
