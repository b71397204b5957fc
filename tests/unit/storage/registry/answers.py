"""A transport whose answers a test has written down."""

import io
import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import urllib3

from storage.registry.options import PullOptions
from storage.registry.transport import Response, Transport


class Sent(NamedTuple):
    """A request that was sent."""

    method: str
    url: str
    authorization: str | None
    body: bytes | None


def answer(
    status: int = 200, document: object = None, headers: Mapping[str, str] | None = None
) -> urllib3.HTTPResponse:
    """Make an answer; bytes are the body as they are, all else becomes JSON."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return urllib3.HTTPResponse(
        io.BytesIO(data),
        headers={"Content-Length": str(len(data)), **(headers or {})},
        status=status,
        preload_content=False,
    )


class ScriptedTransport(Transport):
    """Gives the answers one after the other and keeps what was sent."""

    __slots__ = ("answers", "sent")

    def __init__(self, *answers: urllib3.HTTPResponse) -> None:
        super().__init__("reg.example", PullOptions(), {})
        self.answers = list(answers)
        self.sent: list[Sent] = []

    def request(
        self,
        method: str,
        url: str,
        *,
        doing: str,
        headers: Mapping[str, str] | None = None,
        authorization: str | None = None,
        body: bytes | Iterable[bytes] | None = None,
        is_configured: bool = False,
    ) -> Response:
        self.sent.append(
            Sent(method, url, authorization, body if isinstance(body, bytes) else None)
        )
        return Response(self.answers.pop(0), url, doing)
