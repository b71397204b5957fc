"""OCI distribution specification: requests to one repository, pulling manifests and blobs, tags.

Every answer is checked before it is used: its kind, its size, its digest.
"""

import json
from urllib.parse import quote, urlsplit

from storage.digest import digest_of, is_digest
from storage.errors import (
    DigestMismatch,
    ManifestUnknown,
    RegistryDenied,
    RegistryError,
    RegistryInterrupted,
    RegistryNotTls,
    RegistryProtocolError,
    RegistryTimeout,
    RegistryUnreachable,
)
from storage.oci.checks import DOCUMENT_LIMIT_BYTES
from storage.oci.descriptor import (
    DOCKER_SCHEMA1,
    INDEX_TYPES,
    MANIFEST_TYPES,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
)
from storage.record import NamedTuple
from storage.reference import DEFAULT_REGISTRY, Reference
from storage.registry.auth import Authenticator
from storage.registry.certificates import find_certificates
from storage.registry.challenge import Challenge, parse_challenges
from storage.registry.credentials import find_credentials
from storage.registry.hosts import is_loopback, split_host
from storage.registry.options import Credentials, PullOptions
from storage.registry.transport import (
    Response,
    Transport,
    clean_text,
    join_url,
    origin_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import NoReturn

    # What is sent: bytes, or what makes them anew for each attempt.
    Body = bytes | Callable[[], Iterable[bytes]]

ACCEPT_MANIFESTS = ", ".join(INDEX_TYPES + MANIFEST_TYPES)
_DOCKER_HUB_HOST = "registry-1.docker.io"
_ERROR_LIMIT_BYTES = 64 << 10
_TAGS_LIMIT = 100_000
# A token that was cached may have expired at the registry: once more with a new one.
_LOG_INS = 2
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_RETRY_AFTER_LIMIT_S = 120.0


class Document(NamedTuple):
    """A manifest or an index, byte for byte as it came."""

    data: bytes
    media_type: str
    digest: str


def read_document(data: bytes, digest: str, doing: str) -> Document:
    """Make a document of bytes that are in the store. Raises RegistryProtocolError."""
    return Document(data, _media_type(data, "", doing), digest)


class RegistryClient:
    """Reads one repository; may be used by several threads."""

    __slots__ = ("_auth", "_bases", "_options", "_scope", "_transport", "reference")

    def __init__(
        self,
        reference: Reference,
        options: PullOptions,
        environment: "Mapping[str, str]",
        *,
        actions: str = "pull",
    ) -> None:
        """`actions` is what a token has to be good for: "pull", "pull,push", or nothing."""
        self.reference = reference
        self._options = options
        host = _DOCKER_HUB_HOST if reference.registry == DEFAULT_REGISTRY else reference.registry
        certificates = find_certificates(host, environment, ca_dir=options.ca_dir)
        self._bases = _base_urls(host, options, has_certificates=certificates is not None)
        self._transport = Transport(host, options, environment, certificates=certificates)
        self._scope = f"repository:{reference.repository}:{actions}" if actions else ""

        def find() -> Credentials | None:
            return options.credentials or find_credentials(
                reference, environment=environment, authfile=options.authfile
            )

        self._auth = Authenticator(
            reference.registry, self._transport, find, timeout_s=options.document_timeout_s
        )

    def log_in(self) -> None:
        """Find out whether the registry accepts the credentials.

        Raises RegistryDenied, RegistryUnreachable, RegistryProtocolError.
        """
        doing = f"log in to {self.reference.registry}"
        with self.exchange("GET", "", doing) as response:
            self.check(response, doing, 200)
            response.release()

    def head_manifest(self, name: str) -> str | None:
        """Return the digest that a tag stands for now; None when the registry does not say.

        Raises ManifestUnknown, RegistryDenied, RegistryUnreachable, RegistryProtocolError.
        """
        with self._get(f"manifests/{name}", self._doing(name), method="HEAD") as response:
            digest = response.headers.get("Docker-Content-Digest", "")
            response.release()
        return digest if is_digest(digest) else None

    def get_manifest(self, name: str) -> Document:
        """Fetch a manifest or an index by tag or digest; the bytes have the digest.

        Raises ManifestUnknown, DigestMismatch, RegistryDenied, RegistryUnreachable,
        RegistryProtocolError.
        """
        doing = self._doing(name)
        with self._get(f"manifests/{name}", doing) as response:
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            promised = response.headers.get("Docker-Content-Digest", "")
            data = response.read_all(DOCUMENT_LIMIT_BYTES, self._options.document_timeout_s)
        digest = digest_of(data)
        wanted = name if is_digest(name) else promised if is_digest(promised) else digest
        if digest != wanted:
            raise DigestMismatch(
                f"{doing}: the registry sent a manifest with digest {digest} instead of {wanted}",
                remedy="try again; if it stays, do not trust this registry",
            )
        return Document(data, _media_type(data, kind, doing), digest)

    def open_blob(self, blob: Descriptor, offset: int = 0) -> Response:
        """Begin to fetch a blob; the answer's status is 206 when it begins at `offset`, else 200.

        A layer that lies elsewhere (`urls`) is fetched from there when the registry has it not.
        Raises ManifestUnknown, RegistryDenied, RegistryUnreachable, RegistryProtocolError.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        doing = f"fetch blob {blob.digest[:19]} of {self.reference.name}"
        try:
            response = self._get(f"blobs/{blob.digest}", doing, headers=headers)
        except ManifestUnknown:
            for url in blob.urls:
                if urlsplit(url).scheme == "https":
                    response = self._transport.request("GET", url, doing=doing, headers=headers)
                    self.check(response, doing, 200, 206)
                    return response
            raise
        return response

    def read_blob(self, blob: Descriptor) -> bytes:
        """Fetch a small blob and check its digest.

        Raises DigestMismatch, and what `open_blob` raises.
        """
        with self.open_blob(blob) as response:
            data = response.read_all(DOCUMENT_LIMIT_BYTES, self._options.document_timeout_s)
        if digest_of(data) != blob.digest:
            raise DigestMismatch(f"fetch blob {blob.digest}: the bytes have another digest")
        return data

    def fetch_elsewhere(self, url: str, doing: str) -> Response:
        """Begin to fetch what is no part of the registry; no credentials are sent.

        Raises RegistryUnreachable, RegistryProtocolError.
        """
        return self._transport.request("GET", url, doing=doing, is_configured=True)

    def list_tags(self) -> list[str]:
        """Return the tags of the repository, in the registry's order.

        Raises ManifestUnknown, RegistryDenied, RegistryUnreachable, RegistryProtocolError.
        """
        doing = f"list the tags of {self.reference.name}"
        found: list[str] = []
        last = ""
        while len(found) < _TAGS_LIMIT:
            query = f"tags/list?n=1000&last={quote(last, safe='')}" if last else "tags/list?n=1000"
            with self._get(query, doing) as response:
                more = 'rel="next"' in response.headers.get("Link", "")
                data = response.read_all(DOCUMENT_LIMIT_BYTES, self._options.document_timeout_s)
            tags = _read_tags(data, doing)
            found += tags
            if not more or not tags or tags[-1] == last:
                return found
            last = tags[-1]
        return found

    def exchange(
        self,
        method: str,
        path: str,
        doing: str,
        *,
        headers: "Mapping[str, str] | None" = None,
        body: "Body | None" = None,
        scope: str = "",
    ) -> Response:
        """Send a request and log in when asked to; the status is the caller's to look at.

        `path` is below the repository, below the host when it begins with a slash, or a URL that
        the registry has given. `scope` is wanted
        beside the repository's own. Raises RegistryDenied, RegistryUnreachable,
        RegistryProtocolError.
        """
        fields = dict(headers or {})
        if path.startswith("manifests/") and body is None:
            fields["Accept"] = ACCEPT_MANIFESTS
        wanted = f"{self._scope} {scope}".strip()
        if path.startswith(("http://", "https://")):
            return self._authorized(method, path, doing, fields, body, wanted)
        return self._send(method, path, doing, fields, body, wanted)

    def location(self, response: Response) -> str:
        """Return where an answer says to go on; empty when it does not say."""
        text = response.headers.get("Location", "")
        if not text:
            return ""
        url = join_url(response.url, text, response.doing)
        here = urlsplit(response.url)
        if here.scheme == "https" and url.startswith("http://"):
            # A registry behind a proxy that ends TLS does not know how it is spoken to.
            there = urlsplit(url)
            if there.hostname == here.hostname:
                return there._replace(scheme="https", netloc=here.netloc).geturl()
        return url

    def check(self, response: Response, doing: str, *accepted: int) -> None:
        """Return for an accepted status, else raise what the status means."""
        if response.status not in accepted:
            self._refuse(response, doing)

    def _doing(self, name: str) -> str:
        separator = "@" if is_digest(name) else ":"
        return f"pull {self.reference.name}{separator}{name}"

    def _get(
        self,
        path: str,
        doing: str,
        *,
        method: str = "GET",
        headers: "Mapping[str, str] | None" = None,
    ) -> Response:
        """Send a request to the repository, log in when asked to, and check the status."""
        fields = dict(headers or {})
        if path.startswith("manifests/"):
            fields["Accept"] = ACCEPT_MANIFESTS
        response = self._send(method, path, doing, fields, None, self._scope)
        self.check(response, doing, 200, 206)
        return response

    def _send(
        self,
        method: str,
        path: str,
        doing: str,
        headers: dict[str, str],
        body: "Body | None",
        scope: str,
    ) -> Response:
        """Find out how the registry wants to be spoken to: TLS or not."""
        *candidates, last = self._bases
        first_error: RegistryUnreachable | None = None
        refusal: Response | None = None
        for base in candidates:
            try:
                response = self._authorized(
                    method, self._url(base, path), doing, headers, body, scope
                )
            except RegistryUnreachable as error:
                if not _is_worth_other_scheme(error, base):
                    raise
                first_error = error
                continue
            if not _wants_tls(response, method):
                self._bases = (base,)
                return response
            refusal = response
        try:
            response = self._authorized(method, self._url(last, path), doing, headers, body, scope)
        except RegistryNotTls:
            if refusal is not None:
                return refusal
            if first_error is None:
                raise
            raise first_error from None
        self._bases = (last,)
        return response

    def _url(self, base: str, path: str) -> str:
        if path.startswith("/"):
            return f"{base}{path}"
        return f"{base}/v2/{self.reference.repository}/{path}" if path else f"{base}/v2/"

    def _authorized(
        self,
        method: str,
        url: str,
        doing: str,
        headers: dict[str, str],
        body: "Body | None",
        scope: str,
    ) -> Response:
        # What the registry has not given itself gets no credentials.
        is_own = urlsplit(url).netloc == urlsplit(self._bases[0]).netloc
        sent = self._log_in(doing, None, scope, refused=None) if is_own else None
        for _ in range(_LOG_INS):
            response = self._request(method, url, doing, headers, body, sent)
            if response.status != 401 or not is_own or origin_of(response.url) != origin_of(url):
                return response
            challenges = parse_challenges(response.headers.get("WWW-Authenticate", ""))
            response.release()
            sent = self._log_in(doing, challenges, scope, refused=sent)
        response = self._request(method, url, doing, headers, body, sent)
        if response.status == 401:
            response.close()
            denied = self._auth.denied("it refuses the token that its token server gave")
            raise RegistryDenied(f"{doing}: {denied.message}", remedy=denied.remedy)
        return response

    def _request(
        self,
        method: str,
        url: str,
        doing: str,
        headers: dict[str, str],
        body: "Body | None",
        authorization: str | None,
    ) -> Response:
        return self._transport.request(
            method,
            url,
            doing=doing,
            headers=headers,
            authorization=authorization,
            body=body() if callable(body) else body,
        )

    def _log_in(
        self,
        doing: str,
        challenges: tuple[Challenge, ...] | None,
        scope: str,
        *,
        refused: str | None,
    ) -> str | None:
        """Return the Authorization field; an error says what it was needed for."""
        try:
            if challenges is None:
                return self._auth.header(scope)
            return self._auth.answer(challenges, scope, refused=refused)
        except (RegistryDenied, RegistryProtocolError) as error:
            raise type(error)(f"{doing}: {error.message}", remedy=error.remedy) from error

    def _refuse(self, response: Response, doing: str) -> "NoReturn":
        """Raise what a status that is none of the good ones means."""
        try:
            data = response.read_all(_ERROR_LIMIT_BYTES, self._options.document_timeout_s)
        except RegistryError:
            data = b""
        finally:
            response.close()
        code, text = _read_error(data)
        shown = f"{text} ({response.status})" if text else f"status {response.status}"
        if response.status in (401, 403) or code in ("DENIED", "UNAUTHORIZED"):
            denied = self._auth.denied(shown)
            raise RegistryDenied(f"{doing}: {denied.message}", remedy=denied.remedy)
        if response.status == 404:
            raise self._unknown(code, doing)
        if response.status in _BUSY:
            busy = RegistryInterrupted(
                f"{doing}: the registry cannot answer now: {shown}", remedy=_busy_remedy(response)
            )
            busy.retry_after_s = _retry_after_s(response)
            raise busy
        raise RegistryProtocolError(f"{doing}: the registry answers: {shown}")

    def _unknown(self, code: str, doing: str) -> ManifestUnknown:
        what = "repository" if code == "NAME_UNKNOWN" else "repository, tag or digest"
        return ManifestUnknown(
            f"{doing}: the registry {self.reference.registry} has no such {what}",
            remedy="check the spelling of the name",
        )


def _base_urls(host: str, options: PullOptions, *, has_certificates: bool) -> tuple[str, ...]:
    """Return the URLs to try, the first that answers is kept.

    On loopback plain HTTP comes first: it costs no TLS library, and a TLS server says so.
    """
    tls, plain = f"https://{host}", f"http://{host}"
    if options.tls_verify is True or has_certificates:
        return (tls,)
    if is_loopback(split_host(host)[0]):
        return (plain, tls)
    return (tls, plain) if options.tls_verify is False else (tls,)


def _is_worth_other_scheme(error: RegistryUnreachable, base: str) -> bool:
    """Tell whether plain HTTP may work where TLS did not, or TLS where plain HTTP did not."""
    if isinstance(error, RegistryTimeout):
        return False
    # Nothing on port 443, or no trust in it: plain HTTP has been allowed.
    return base.startswith("https:") or isinstance(error, RegistryInterrupted)


def _wants_tls(response: Response, method: str) -> bool:
    """Tell whether a server that speaks TLS got plain HTTP: 400, and the body, if any, says so."""
    if response.status != 400 or response.url.startswith("https:"):
        return False
    if method == "HEAD":
        response.release()
        return True
    try:
        said = response.read_all(_ERROR_LIMIT_BYTES, 10.0).lower()
    except RegistryError:
        return False
    return b"https" in said or b"ssl" in said


def _media_type(data: bytes, kind: str, doing: str) -> str:
    """Return what a document is: what it says itself, else what the registry says."""
    try:
        raw: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        what = f" ({kind})" if kind else ""
        raise RegistryProtocolError(
            f"{doing}: the answer{what} is not a manifest: not JSON",
            remedy="check that the name begins with a registry's host; a proxy or a log-in page"
            " of the network may have answered instead",
        ) from error
    if not isinstance(raw, dict):
        raise RegistryProtocolError(f"{doing}: the answer is not a manifest: not a JSON object")
    if "manifests" in raw and "layers" in raw:
        # CVE-2021-41190: read as the one by some tools, as the other by others.
        raise RegistryProtocolError(f"{doing}: the answer is an index and a manifest at once")
    own = raw.get("mediaType")
    found = own if isinstance(own, str) and own else kind
    if found in DOCKER_SCHEMA1 or raw.get("schemaVersion") == 1:
        return DOCKER_SCHEMA1[0]
    if found in INDEX_TYPES + MANIFEST_TYPES:
        return found
    return OCI_INDEX if "manifests" in raw else OCI_MANIFEST


def _read_error(data: bytes) -> tuple[str, str]:
    """Return code and text of an error document, two empty strings when it is none."""
    try:
        raw: object = json.loads(data)
    except (ValueError, RecursionError):
        return "", ""
    errors = raw.get("errors") if isinstance(raw, dict) else None
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", ""
    code, text = first.get("code"), first.get("message")
    return (
        code.upper() if isinstance(code, str) else "",
        clean_text(text) if isinstance(text, str) else "",
    )


def _read_tags(data: bytes, doing: str) -> list[str]:
    try:
        raw: object = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RegistryProtocolError(f"{doing}: the answer is not JSON") from error
    tags = raw.get("tags") if isinstance(raw, dict) else None
    if tags is None:
        return []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise RegistryProtocolError(f"{doing}: the answer has no list of tags")
    return [clean_text(tag) for tag in tags]


def _retry_after_s(response: Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _RETRY_AFTER_LIMIT_S) if text.isascii() and text.isdigit() else 0.0


def _busy_remedy(response: Response) -> str:
    if response.status == 429:
        return "too many requests: wait, or log in, which raises the limit"
    return "try again later"
