"""The head of a delivery as the fast front end sees it; other requests go to the complete one."""

from collections.abc import Sequence

from server.http.frontend import delivery_head
from server.http.head import RequestHead
from server.http.remote import Network
from server.intake.intake import DeliveryHead
from server.intake.routes import target_of
from storage.frozen import frozen


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
    target = target_of(request.target)
    if target is None or request.method != b"POST" or not request.is_http_1_1:
        return OTHER_REQUEST
    head = delivery_head(target, request.fields, request.length, peer, trusted_proxies)
    return IngestHead(head, request.is_last, request.expects_continue)
