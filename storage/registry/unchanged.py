"""Is what a tag stands for already here? One HEAD, without the HTTP library and its load time.

Only for what needs nothing but a plain connection to this machine; in every other case, and
whenever anything is unusual, the answer is "perhaps not" and the ordinary pull finds out.
"""

import _socket

from storage.blobs import has_blob, read_blob
from storage.digest import is_digest
from storage.errors import StorageError
from storage.images import ImageRecord, find_image
from storage.layers import has_layer
from storage.layout import Layout
from storage.names import name_target
from storage.oci.checks import parse_json
from storage.oci.descriptor import INDEX_TYPES, MANIFEST_TYPES
from storage.oci.index import Index
from storage.platform import Platform, choose_manifest, host_platform
from storage.reference import Reference
from storage.registry.certificates import find_certificates
from storage.registry.hosts import is_loopback, split_host
from storage.registry.options import PullOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_HEAD_LIMIT_BYTES = 64 << 10


def find_unchanged(
    layout: Layout,
    reference: Reference,
    *,
    map_key: str,
    platform: Platform | None = None,
    options: PullOptions,
    environment: "Mapping[str, str]",
) -> ImageRecord | None:
    """Return the image when the store has all of what the registry would send now.

    None says that only a pull can tell. Needs no user namespace.
    """
    name = f"{reference.name}@{reference.digest}" if reference.digest else str(reference)
    known = name_target(layout, name)
    if not known:
        return None
    try:
        image = find_image(layout, name)
        if not _is_whole(layout, image, map_key):
            return None
        digest = reference.digest or _ask(reference, options, environment)
        if digest is None or _manifest_of(layout, digest, platform) != known:
            return None
        return find_image(layout, name, all_names=True)
    except (StorageError, OSError):
        return None


def _is_whole(layout: Layout, image: ImageRecord, map_key: str) -> bool:
    return all(
        has_blob(layout, digest)
        for digest in (image.manifest_digest, image.config_digest, *image.layer_digests)
    ) and all(has_layer(layout, map_key, chain_id) for chain_id in image.chain_ids)


def _manifest_of(layout: Layout, digest: str, platform: Platform | None) -> str:
    """Return the manifest that a digest stands for; the digest itself unless it is an index."""
    if not has_blob(layout, digest):
        return ""
    document = parse_json(read_blob(layout, digest, verify=False), digest)
    if not isinstance(document, dict) or "manifests" not in document:
        return digest
    index = Index.from_json(document, digest)
    return choose_manifest(index.manifests, platform or host_platform(), digest).digest


def _ask(
    reference: Reference, options: PullOptions, environment: "Mapping[str, str]"
) -> str | None:
    host, port = split_host(reference.registry)
    if options.tls_verify is True or not is_loopback(host):
        return None
    if find_certificates(reference.registry, environment, ca_dir=options.ca_dir) is not None:
        return None
    accept = ", ".join(INDEX_TYPES + MANIFEST_TYPES)
    request = (
        f"HEAD /v2/{reference.repository}/manifests/{reference.tag} HTTP/1.1\r\n"
        f"Host: {reference.registry}\r\nUser-Agent: rpod\r\nAccept: {accept}\r\n"
        "Connection: close\r\n\r\n"
    )
    return _digest_in(_exchange(host, port or 80, request.encode("ascii"), options))


def _exchange(host: str, port: int, request: bytes, options: PullOptions) -> bytes:
    """Send a request and return the head of the answer.

    The host is given as bytes: a string would load the codec for international names.
    """
    kind = _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC
    for family, _, _, _, address in _socket.getaddrinfo(
        host.encode("ascii"), port, 0, _socket.SOCK_STREAM
    ):
        connection = _socket.socket(family, kind)
        try:
            connection.settimeout(options.connect_timeout_s)
            try:
                connection.connect(address)
            except ConnectionRefusedError:
                # localhost is two addresses, and a server may listen on one of them.
                continue
            connection.settimeout(options.read_timeout_s)
            # A request is smaller than any socket's buffer.
            if connection.send(request) != len(request):
                return b""
            return _read_head(connection)
        finally:
            connection.close()
    return b""


def _read_head(connection: "_socket.socket") -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD_LIMIT_BYTES:
        chunk = connection.recv(_HEAD_LIMIT_BYTES)
        if not chunk:
            break
        head += chunk
    return head


def _digest_in(head: bytes) -> str | None:
    """Return the digest of a good answer."""
    status, *fields = head.decode("latin-1").split("\r\n")
    if status.split(" ")[:2] not in (["HTTP/1.1", "200"], ["HTTP/1.0", "200"]):
        return None
    for field in fields:
        key, _, value = field.partition(":")
        if key.lower() == "docker-content-digest" and is_digest(value.strip()):
            return value.strip()
    return None
