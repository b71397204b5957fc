"""HTTP as a registry needs it: bounded redirects, bounded answers, errors that say what to do.

Credentials go to the host for which they were meant, and to no other. Plain HTTP is for loopback,
unless verification is switched off; who has answered over TLS sends us nowhere without it.
"""

import time
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3
import urllib3.exceptions

from storage.errors import (
    RegistryError,
    RegistryInterrupted,
    RegistryNotTls,
    RegistryProtocolError,
    RegistryTimeout,
    RegistryUnreachable,
)
from storage.registry.certificates import make_context
from storage.registry.hosts import is_loopback
from storage.registry.options import PullOptions
from storage.registry.proxies import choose_proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Mapping
    from types import TracebackType

_REDIRECTS = (301, 302, 303, 307, 308)
_REDIRECT_LIMIT = 5
_URL_LIMIT = 8 << 10
_CHUNK_BYTES = 64 << 10
# What OpenSSL calls an answer that is no TLS record.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE")
_USER_AGENT = "rpod"


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of a URL. Raises RegistryProtocolError."""
    return _origin(_split_url(url, "request"))


def clean_text(text: str, limit: int = 300) -> str:
    """Make what a registry says fit for a terminal: one line, no control characters."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * limit]).split())
    return shown if len(shown) <= limit else f"{shown[:limit]}..."


class Response:
    """An answer whose body has not been read; `url` is where it came from after redirects."""

    __slots__ = ("_raw", "doing", "headers", "status", "url")

    def __init__(self, raw: urllib3.BaseHTTPResponse, url: str, doing: str) -> None:
        self._raw = raw
        self.url = url
        self.doing = doing
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers

    @property
    def content_length(self) -> int | None:
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() else None

    def read(self, size_bytes: int) -> bytes:
        """Return what has arrived, at most `size_bytes`; empty at the end of the body.

        Raises RegistryInterrupted when the body breaks off.
        """
        try:
            return self._raw.read1(size_bytes, decode_content=False) or b""
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            self.close()
            raise _explain(error, self.url, self.doing) from error

    def read_all(self, limit_bytes: int, timeout_s: float) -> bytes:
        """Return the whole body. Raises RegistryProtocolError when it is larger than the limit."""
        announced = self.content_length
        deadline_s = time.monotonic() + timeout_s
        parts: list[bytes] = []
        size = 0
        while size <= limit_bytes and (announced or 0) <= limit_bytes:
            chunk = self.read(_CHUNK_BYTES)
            if not chunk:
                return b"".join(parts)
            parts.append(chunk)
            size += len(chunk)
            if time.monotonic() > deadline_s:
                self.close()
                raise RegistryTimeout(
                    f"{self.doing}: {_place(self.url)} is too slow: {size} bytes in"
                    f" {timeout_s:.0f} s",
                    remedy="try again later",
                )
        self.close()
        raise RegistryProtocolError(
            f"{self.doing}: the answer of {_place(self.url)} is larger than {limit_bytes} bytes"
        )

    def close(self) -> None:
        """Give up what is left of the body, and the connection with it."""
        self._raw.close()

    def release(self) -> None:
        """Keep the connection for the next request when little or nothing of the body is left."""
        left = self._raw.length_remaining if isinstance(self._raw, urllib3.HTTPResponse) else None
        if left is None or left > _CHUNK_BYTES:
            self._raw.close()
            return
        try:
            self._raw.drain_conn()
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            self._raw.close()
        self._raw.release_conn()

    def __enter__(self) -> "Response":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        value: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self.close()


class Transport:
    """Connections to one registry and to where it sends us; may be used by several threads."""

    __slots__ = (
        "_certificates",
        "_environment",
        "_host",
        "_is_over_tls",
        "_options",
        "_plain_http",
        "_pools",
    )

    def __init__(
        self,
        host_port: str,
        options: PullOptions,
        environment: "Mapping[str, str]",
        *,
        certificates: str | None = None,
        plain_http: bool = False,
    ) -> None:
        """`certificates` is a directory of `host_port`.

        Its authorities count for the hosts that this one sends us to as well (its token server,
        where its blobs lie); its client certificates are for itself.

        `plain_http`: the user has named a URL that may be one without TLS.
        """
        self._plain_http = plain_http
        self._host = host_port.lower()
        self._options = options
        self._environment = environment
        self._certificates = certificates
        # Whether `host_port` has answered over TLS: what it names then (a token server, a place
        # for an upload) has to be reached over TLS, too.
        self._is_over_tls = False
        self._pools: dict[tuple[str | None, bool, bool], urllib3.PoolManager] = {}

    def request(
        self,
        method: str,
        url: str,
        *,
        doing: str,
        headers: "Mapping[str, str] | None" = None,
        authorization: str | None = None,
        body: "bytes | Iterable[bytes] | None" = None,
        is_configured: bool = False,
    ) -> Response:
        """Send a request and follow redirects; `doing` begins every error's message.

        `authorization` goes to the origin of `url` only. `is_configured`: the user's own files name
        the URL, not the registry.
        Raises RegistryUnreachable, RegistryInterrupted, RegistryNotTls, RegistryProtocolError.
        """
        first = _origin(_split_url(url, doing))
        came_over_tls = self._is_over_tls and not is_configured
        for _ in range(_REDIRECT_LIMIT + 1):
            parts = _split_url(url, doing)
            self._check_scheme(parts, doing, came_over_tls=came_over_tls)
            came_over_tls = parts.scheme == "https"
            fields = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **(headers or {})}
            if authorization is not None and _origin(parts) == first:
                fields["Authorization"] = authorization
            raw = self._send(method, url, parts, fields, body, doing)
            if came_over_tls and self._is_home(parts):
                self._is_over_tls = True
            location = raw.headers.get("Location")
            if raw.status not in _REDIRECTS or not location or body is not None:
                return Response(raw, url, doing)
            Response(raw, url, doing).release()
            if len(location) > _URL_LIMIT:
                raise RegistryProtocolError(f"{doing}: redirect to a URL of {len(location)} bytes")
            url = join_url(url, location, doing)
        raise RegistryProtocolError(
            f"{doing}: more than {_REDIRECT_LIMIT} redirects, the last one to"
            f" {_place(clean_text(url))}",
            remedy="the registry, or a proxy before it, is set up wrongly: tell who runs it",
        )

    def _send(
        self,
        method: str,
        url: str,
        parts: SplitResult,
        headers: dict[str, str],
        body: "bytes | Iterable[bytes] | None",
        doing: str,
    ) -> urllib3.BaseHTTPResponse:
        timeout = urllib3.Timeout(
            connect=self._options.connect_timeout_s, read=self._options.read_timeout_s
        )
        try:
            return self._pool(parts).request(
                method,
                url,
                headers=headers,
                body=body,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=timeout,
            )
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise _explain(error, url, doing) from error

    def _check_scheme(self, parts: SplitResult, doing: str, *, came_over_tls: bool) -> None:
        if parts.scheme == "https" or self._options.tls_verify is False:
            return
        is_fine = self._plain_http or is_loopback(parts.hostname or "")
        if came_over_tls or not is_fine:
            raise RegistryProtocolError(
                f"{doing}: the registry sends us to {_place(parts.geturl())} over plain HTTP",
                remedy="if you accept that anybody on the way can read and change what is"
                " transferred: --tls-verify=false",
            )

    def _pool(self, parts: SplitResult) -> urllib3.PoolManager:
        proxy = choose_proxy(parts, self._environment)
        is_home = self._is_home(parts)
        key = (proxy, is_home, parts.scheme == "https")
        pool = self._pools.get(key)
        if pool is None:
            # Two threads may both get here: the second pool takes the place of the first.
            pool = self._pools[key] = self._make_pool(proxy, is_home=is_home, tls=key[2])
        return pool

    def _is_home(self, parts: SplitResult) -> bool:
        port = f":{parts.port}" if parts.port else ""
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{host}{port}" == self._host

    def _make_pool(self, proxy: str | None, *, is_home: bool, tls: bool) -> urllib3.PoolManager:
        context: ssl.SSLContext | None = None
        if tls:
            if self._options.tls_verify is False:
                # The user asked for it; urllib3 would say so once for each connection.
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
            context = make_context(
                verify=self._options.tls_verify is not False,
                directory=self._certificates,
                with_own=is_home,
            )
        size = self._options.max_concurrent + 1
        if proxy is None:
            return urllib3.PoolManager(maxsize=size, ssl_context=context)
        user_info = urlsplit(proxy)
        headers = {}
        if user_info.username:
            secret = f"{user_info.username}:{user_info.password or ''}"
            headers = urllib3.make_headers(proxy_basic_auth=secret)
        return urllib3.ProxyManager(proxy, maxsize=size, proxy_headers=headers, ssl_context=context)


def _split_url(url: str, doing: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        valid = False
        parts = SplitResult("", "", "", "", "")
    if not valid:
        raise RegistryProtocolError(f"{doing}: {clean_text(url, 100)!r} is not an http URL")
    return parts


def join_url(url: str, location: str, doing: str) -> str:
    """Return the URL that a Location field means. Raises RegistryProtocolError."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise RegistryProtocolError(
            f"{doing}: redirect to {clean_text(location, 100)!r}, which is not an http URL"
        ) from error


def _origin(parts: SplitResult) -> tuple[str, str, int]:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return parts.scheme, (parts.hostname or "").lower(), port


def _place(url: str) -> str:
    """Return HOST[:PORT] of a URL; its query may hold secrets."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or url
    except ValueError:
        return url


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error and what it was made from, the outermost first."""
    found: list[BaseException] = []
    pending: list[BaseException] = [error]
    while pending:
        current = pending.pop(0)
        if current in found:
            continue
        found.append(current)
        pending += [
            inner
            for inner in (*current.args, current.__cause__, current.__context__)
            if isinstance(inner, BaseException)
        ]
    return found


def _explain(error: Exception, url: str, doing: str) -> RegistryError:
    """Say in the user's words what urllib3, the resolver or OpenSSL said."""
    chain = _chain(error)
    place = _place(url)
    exceptions = urllib3.exceptions
    for inner in chain:
        reason = getattr(inner, "reason", None)
        if isinstance(reason, str) and reason in _NOT_TLS:
            return RegistryNotTls(
                f"{doing}: {place} does not speak TLS",
                remedy="if you accept that anybody on the way can read and change what is"
                " transferred: --tls-verify=false",
            )
        if reason == "CERTIFICATE_VERIFY_FAILED":
            why = getattr(inner, "verify_message", "") or str(inner)
            return RegistryUnreachable(
                f"{doing}: the certificate of {place} is not trusted: {clean_text(why)}",
                remedy="give the authority that signed it as a *.crt file: --cert-dir DIR, or"
                " ~/.config/containers/certs.d/HOST[:PORT]/ of the registry",
            )
    if any(isinstance(inner, exceptions.ProxyError) for inner in chain):
        return RegistryUnreachable(
            f"{doing}: the proxy for {place} failed: {_innermost(chain)}",
            remedy="check https_proxy and no_proxy in the environment",
        )
    if any(isinstance(inner, exceptions.NameResolutionError) for inner in chain):
        return RegistryUnreachable(
            f"{doing}: the name of {place} cannot be resolved: {_innermost(chain)}",
            remedy="check the spelling of the registry and the network",
        )
    if any(isinstance(inner, exceptions.ConnectTimeoutError) for inner in chain):
        # NewConnectionError is one of these, too.
        has_cause = any(isinstance(inner, OSError) and inner.strerror for inner in chain)
        why = _innermost(chain) if has_cause else "no connection within the time limit"
        return RegistryUnreachable(
            f"{doing}: connect to {place}: {why}",
            remedy="check that the registry runs and the network (https_proxy) lets you reach it",
        )
    if any(isinstance(inner, (exceptions.ReadTimeoutError, TimeoutError)) for inner in chain):
        return RegistryTimeout(
            f"{doing}: {place} has sent nothing for too long", remedy="try again later"
        )
    return RegistryInterrupted(
        f"{doing}: the connection to {place} broke off: {_innermost(chain)}",
        remedy="try again; what has arrived is kept",
    )


def _innermost(chain: list[BaseException]) -> str:
    for inner in reversed(chain):
        if isinstance(inner, OSError) and inner.strerror:
            return clean_text(inner.strerror)
    return clean_text(str(chain[-1]) or type(chain[-1]).__name__)
