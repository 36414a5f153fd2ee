"""The public side's routes as `/openapi.json` has them: from the table of routes, which both front ends match by."""

from collections.abc import Iterator

from server.base.refusal import SDK_RETRY_SECONDS, STATUS
from server.http.operation import Content, Operation, Parameter, json_of
from server.intake.routes import INBOUND, SDK_ROUTES
from server.observe.json_schema import TEXT, reference
from server.observe.metrics import OF_THE_ADMIN_SIDE

CODES = tuple(code for code in STATUS if code not in OF_THE_ADMIN_SIDE)
"""Those of the public side."""

CHALLENGE = Content("text/plain", TEXT)
BODY = Content("application/json", {"description": "Any JSON; see the page about senders for what makes an event."})

DELIVERY = Operation(
    "Send events: one, or a batch. 200 once every event is on disk, or was dropped on purpose and that is on disk. "
    "A source whose vendor asks by a signed POST before it sends gets the answer to that instead.",
    {200: Content("application/json", {"anyOf": [reference("Accepted"), reference("Handshake")]})},
    [code for code in CODES if code != "method_not_allowed"],
    body=BODY,
)
HANDSHAKE = Operation(
    "What some vendors ask before they send, of a source with their signature scheme; of any other source, 405.",
    {200: [json_of("Handshake"), CHALLENGE]},
    ["unauthorized", "not_found", "method_not_allowed", "storage_full", "storage_failed", "draining", "starting"],
)
SDK_DELIVERY = Operation(
    "The same, as the SDKs of Segment and RudderStack send: 429 with Retry-After stands for what they are to send "
    f"again after {SDK_RETRY_SECONDS} s. A slash may follow the path.",
    {200: json_of("Accepted")},
    DELIVERY.codes,
    query=[Parameter("writeKey", "The token, if there is no Authorization header.", TEXT)],
    body=BODY,
)
PREFLIGHT = Operation(
    "What a browser asks before a page sends, of a source with cors_origins; of any other source, 405.",
    {204: ()},
    ["unauthorized", "not_found", "method_not_allowed"],
)


def ingest_operations() -> Iterator[tuple[str, str, Operation]]:
    """Yield each route of the public side: its path, its method, and what it does."""
    own = f"{INBOUND}{{source_id}}"
    yield own, "POST", DELIVERY
    yield own, "GET", HANDSHAKE
    for suffix in SDK_ROUTES:
        for path in (f"{own}{suffix}", suffix):
            yield path, "POST", SDK_DELIVERY
            yield path, "OPTIONS", PREFLIGHT
