"""The signatures of an image that is about to be pulled: fetched, and held against the policy."""

import os
from urllib.parse import unquote, urlsplit

from storage.errors import ManifestUnknown, PolicyRefused
from storage.layout import Layout
from storage.oci.checks import as_object, get_list, get_string_map, get_text, parse_json
from storage.oci.descriptor import Descriptor
from storage.policy import GPG, SIGSTORE
from storage.reference import Reference
from storage.registry.client import RegistryClient
from storage.registry.lookaside import find_lookaside
from storage.registry.options import PullOptions
from storage.verify import Signature, check_demands

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SIGNATURES_LIMIT = 128
_SIGNATURE_LIMIT_BYTES = 4 << 20
_COSIGN_LAYER = "application/vnd.dev.cosign.simplesigning.v1+json"
_COSIGN_PROOF = "dev.cosignproject.cosign/signature"


class SignatureCheck:
    """What a policy wants of one image; called with each manifest before it is used."""

    def __init__(
        self,
        layout: Layout,
        reference: Reference,
        options: PullOptions,
        environment: "Mapping[str, str]",
    ) -> None:
        self._layout = layout
        self._reference = reference
        self._demands = options.demands
        self._options = options
        self._environment = environment

    def __call__(self, client: RegistryClient, manifest_digest: str) -> None:
        """Return when the signatures are there and good. Raises PolicyRefused, InvalidDocument."""
        if not self._demands:
            return
        kinds = {demand.kind for demand in self._demands}
        place = find_lookaside(self._reference, self._environment)
        found: list[Signature] = []
        if GPG in kinds and place.url:
            found += self._fetch_simple(client, place.url, manifest_digest)
        if SIGSTORE in kinds and place.attachments:
            found += self._fetch_attached(client, manifest_digest)
        check_demands(
            self._layout,
            self._demands,
            tuple(found),
            manifest_digest,
            str(self._reference),
            self._reference,
        )

    def _fetch_simple(
        self, client: RegistryClient, base: str, manifest_digest: str
    ) -> list[Signature]:
        """containers-signature(5): signature-1, signature-2 ... until one is missing."""
        name = f"{self._reference.repository}@{manifest_digest.replace(':', '=')}"
        found: list[Signature] = []
        for number in range(1, _SIGNATURES_LIMIT + 1):
            data = self._read(client, f"{base.rstrip('/')}/{name}/signature-{number}")
            if data is None:
                break
            found.append(Signature(GPG, data))
        return found

    def _read(self, client: RegistryClient, url: str) -> bytes | None:
        parts = urlsplit(url)
        if parts.scheme == "file":
            try:
                with open(os.path.normpath(unquote(parts.path)), "rb") as file:
                    return file.read(_SIGNATURE_LIMIT_BYTES)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                raise PolicyRefused(f"read the signature {url}: {error.strerror}") from error
        if parts.scheme not in ("http", "https"):
            raise PolicyRefused(f"read the signature {url}: not a file, http or https URL")
        doing = f"fetch the signature {url}"
        with client.fetch_elsewhere(url, doing) as answer:
            if answer.status == 404:
                answer.release()
                return None
            client.check(answer, doing, 200)
            return answer.read_all(_SIGNATURE_LIMIT_BYTES, self._options.document_timeout_s)

    def _fetch_attached(self, client: RegistryClient, manifest_digest: str) -> list[Signature]:
        """Sigstore's attachments: an image whose tag is the digest, a layer for each signature."""
        tag = f"{manifest_digest.replace(':', '-')}.sig"
        try:
            document = client.get_manifest(tag)
        except ManifestUnknown:
            return []
        where = f"signatures {tag}"
        fields = as_object(parse_json(document.data, where), where)
        found: list[Signature] = []
        for raw in get_list(fields, "layers", where)[:_SIGNATURES_LIMIT]:
            layer = as_object(raw, where)
            if get_text(layer, "mediaType", where) != _COSIGN_LAYER:
                continue
            proof = get_string_map(layer, "annotations", where).get(_COSIGN_PROOF, "")
            blob = Descriptor.from_json(layer, where)
            found.append(Signature(SIGSTORE, client.read_blob(blob), proof))
        return found
