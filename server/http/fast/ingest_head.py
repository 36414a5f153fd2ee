"""The head of a delivery as the fast front end sees it; what is not a delivery goes elsewhere."""

import re
from collections.abc import Sequence

from server.http.head import RequestHead
from server.http.remote import Network, remote_address
from server.intake.headers import scan
from server.intake.intake import DeliveryHead
from storage.record import record

TARGET = re.compile(rb"/ingest/inbound/([A-Za-z0-9_-]{1,64})(?:\?.*)?")


@record
class IngestHead:
    """What intake wants of the head, and what HTTP says of its request. Immutable: equal heads are one object."""

    head: DeliveryHead
    is_last: bool
    """The client closes after the request."""
    expects_continue: bool


class Elsewhere:
    """Not a delivery: for the complete front end."""


ELSEWHERE = Elsewhere()


def ingest_head(peer: str, request: RequestHead, trusted_proxies: Sequence[Network]) -> IngestHead | Elsewhere:
    """Return what a request's head asks for."""
    target = TARGET.fullmatch(request.target)
    if target is None or request.method != b"POST" or not request.is_http_1_1:
        return ELSEWHERE
    fields = request.fields
    head = DeliveryHead(
        source_id=target[1].decode(),
        authorization=fields.only(b"authorization"),
        scanned=scan(fields.lines),
        content_length=request.length,
        remote_addr=remote_address(peer, fields.lines, trusted_proxies),
    )
    return IngestHead(head, request.is_last, request.expects_continue)
