"""User-shaped load: senders that wait between deliveries, some of them batching.

    locust -f bench/locustfile.py --headless --users 50 --spawn-rate 50 --run-time 15s --host http://127.0.0.1:8080

Sends to the demo sources of config/tidegate.toml. Set TIDEGATE_TOKEN for other tokens.
"""

import os
import random

from locust import FastHttpUser, between, task

from bench.workload import SEED, batch, webhook

TOKEN = os.environ.get("TIDEGATE_TOKEN", "for-trying-only")
RNG = random.Random(SEED)
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


class Sender(FastHttpUser):
    """Nine webhooks for each batch of 100."""

    wait_time = between(0.01, 0.1)

    @task(9)
    def webhook(self) -> None:
        self._send("demo", webhook(RNG), 1)

    @task(1)
    def segment_batch(self) -> None:
        self._send("demo-segment", batch(RNG, 100), 100)

    def _send(self, source: str, body: bytes, events: int) -> None:
        path = f"/ingest/inbound/{source}"
        with self.client.post(
            path, data=body.decode(), headers=HEADERS, catch_response=True, name=f"{source} {events}"
        ) as answer:
            if answer.status_code != 200 or answer.json()["accepted"] + answer.json()["deferred"] != events:
                answer.failure(f"{answer.status_code}: {answer.text[:200]}")
