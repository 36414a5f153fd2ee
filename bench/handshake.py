"""Before the load: does this server do the job at all? A peer that does less would be measured wrongly."""

import gzip
import http.client
from collections.abc import Iterator, Mapping
from contextlib import closing

import orjson

from bench.child import HANG_SECONDS
from bench.workload import TOKEN

ITEM = {"type": "track", "messageId": "handshake-1", "event": "Signed Up"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def shake(port: int) -> None:
    """A few deliveries, right and wrong. Raises RuntimeError with the first answer that is not as it should be."""
    with talk(port) as connection:
        for source, headers, body, status, accepted in _deliveries():
            said_status, said = post(connection, source, headers, body)
            if said_status != status or (status == 200 and said.get("accepted") != accepted):
                raise RuntimeError(f"{source} {headers} {body!r}: {said_status} {said}, and not {status} {accepted}")


def _deliveries() -> Iterator[tuple[str, Mapping[str, str], bytes, int, int]]:
    """Source, headers, body; the status that is due, and how many events are accepted."""
    one = orjson.dumps(ITEM)
    batch = orjson.dumps({"batch": [ITEM, {"type": "track", "messageId": "handshake-2"}, {"type": "no such"}]})
    yield "segment", BEARER, one, 200, 1
    yield "segment", BEARER, one, 200, 1
    yield "segment", BEARER, batch, 200, 2
    yield "segment", {**BEARER, "Content-Encoding": "gzip"}, gzip.compress(batch), 200, 2
    yield "webhook", BEARER, b'{"inbound_event_id":"handshake-1","event_type":"order.paid"}', 200, 1
    yield "webhook", BEARER, b'[{"id":1},{"id":2}]', 200, 2
    yield "segment", {"Authorization": "Bearer another"}, one, 401, 0
    yield "nobody", BEARER, one, 401, 0
    yield "segment", BEARER, b'{"type":"track"', 400, 0
    yield "segment", BEARER, b'{"type":"no such"}', 400, 0


def talk(port: int) -> closing[http.client.HTTPConnection]:
    """A connection, to be used with `with`."""
    return closing(http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_SECONDS))


def post(
    connection: http.client.HTTPConnection, source: str, headers: Mapping[str, str], body: bytes
) -> tuple[int, dict[str, object]]:
    """Status and answer of one delivery."""
    connection.request("POST", f"/ingest/inbound/{source}", body, {**headers, "Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    return answer.status, orjson.loads(text) if text else {}


ACCEPTED = {"segment": 6, "webhook": 3}
"""Events of each source that a server has afterwards."""

DUPLICATES = {"segment": 4, "webhook": 0}
"""Of these, those that are duplicates."""
