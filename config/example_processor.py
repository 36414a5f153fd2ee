"""An example processor: posts each event to an HTTP service and says what became of it.

In the configuration, beside this file:

    [sources.orders]
    type = "webhook"
    tokens = ["env:ORDERS_TOKEN"]
    processor = "example_processor:forward"
    processor_batch_events_max = 20

The service is named by FORWARD_ADDRESS (host:port) and FORWARD_PATH in the server's environment.

A plain function like this one runs in a thread of its source's own, so it may block. It may see an event again: when
another event of its batch failed, and when the server died before the outcome was on disk. So it sends the id along,
and the service can tell.
"""

import json
import os
from http.client import HTTPConnection, HTTPException
from typing import Any
from urllib.parse import quote

ADDRESS = os.environ.get("FORWARD_ADDRESS", "127.0.0.1:9000")
PATH = os.environ.get("FORWARD_PATH", "/events")

AWAY = (408, 425, 429)
"""Answers that say "not now", as those from 500 on do."""

ANSWER_SECONDS = 5
"""For one event. A batch must fit into processor_timeout_seconds."""


def forward(events: list[dict[str, Any]]) -> list[object]:
    """One entry an event: what the service said, or an exception for an event that it refused.

    Raises ConnectionError or TimeoutError where the service is away: then nothing is counted against the events, and
    they are tried again until it is back.
    """
    connection = HTTPConnection(ADDRESS, timeout=ANSWER_SECONDS)
    try:
        return [_post(connection, event) for event in events]
    finally:
        connection.close()


def _post(connection: HTTPConnection, event: dict[str, Any]) -> object:
    headers = {
        "content-type": "application/json",
        "idempotency-key": quote(event["inbound_event_id"], safe=""),  # an id may hold any character
    }
    try:
        connection.request("POST", PATH, json.dumps(event).encode(), headers)
        response = connection.getresponse()
        response.read()
    except HTTPException as error:
        raise ConnectionError(f"the service does not speak HTTP: {error!r}") from error
    if response.status in AWAY or response.status >= 500:
        raise ConnectionError(f"the service answers {response.status}")
    if response.status >= 300:
        return ValueError(f"the service refuses the event: {response.status}")
    return {"status": response.status}
