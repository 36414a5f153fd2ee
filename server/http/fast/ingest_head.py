"""The head of a delivery as the fast front end sees it; other requests go to the complete one."""

import re
from collections.abc import Sequence

from server.http.head import RequestHead
from server.http.remote import Network, remote_address
from server.intake.headers import scan
from server.intake.intake import DeliveryHead
from storage.frozen import frozen

TARGET = re.compile(rb"/ingest/inbound/([A-Za-z0-9_-]{1,64})(?:\?.*)?")


@frozen
class IngestHead:
    """What intake needs from the head, and how HTTP treats its request. Immutable: equal heads share one object."""

    head: DeliveryHead
    is_last: bool
    """Whether the client closes after this request."""
    expects_continue: bool


class OtherRequest:
    """A request that is not a delivery: for the complete front end."""


OTHER_REQUEST = OtherRequest()


def ingest_head(peer: str, request: RequestHead, trusted_proxies: Sequence[Network]) -> IngestHead | OtherRequest:
    """Return the delivery's head; OTHER_REQUEST if the request is not a delivery."""
    target = TARGET.fullmatch(request.target)
    if target is None or request.method != b"POST" or not request.is_http_1_1:
        return OTHER_REQUEST
    fields = request.fields
    head = DeliveryHead(
        source_id=target[1].decode(),
        authorization=fields.only(b"authorization"),
        scanned=scan(fields.lines),
        content_length=request.length,
        remote_addr=remote_address(peer, fields.lines, trusted_proxies),
    )
    return IngestHead(head, request.is_last, request.expects_continue)
