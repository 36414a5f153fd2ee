"""How this store was made: `python make.py CHECKOUT`, where CHECKOUT is a tree of format 1 with its `.venv`.

It runs that server: every kind of source, of item and of id; every status; batches, and requests that go together; a
source that is gone from the configuration; and deliveries that only the journal has, when it is killed. Then it asks
the commands of that version about a copy, and packs the store and their answers. Nothing of the present tree is used.
"""

import http.client
import io
import json
import random
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lmdb
import zstandard

HERE = Path(__file__).parent
TOKEN = "a-token-of-the-fixture"
CHOSEN = random.Random(1)

SERVER = """\
[server]
bind = "127.0.0.1:0"
admin_bind = "127.0.0.1:0"
[limits]
body_bytes_max = 4000000
drain_timeout_seconds = 1
"""
SOURCES: Mapping[str, Mapping[str, object]] = {
    "hooks": {"processor": "work:plain", "processor_attempts_max": 2},
    "retried": {"processor": "work:plain"},
    "archive": {},
    "hashed": {"missing_event_id": "hash"},
    "segment": {"type": "segment", "processor": "work:plain"},
    "stuck": {"processor": "work:pausing"},
    "held": {"rate_limit_events_per_second": 0.001, "rate_limit_burst_events": 2},
    "dropping": {"rate_limit_events_per_second": 0.001, "rate_limit_burst_events": 3, "over_limit": "drop"},
    "changing": {},
    "gone": {},
}

ASK = """
import contextlib, io, json, os, sys, tempfile
sys.path.insert(0, sys.argv[1])
from server.cli import main
def ask(line):
    out, err = tempfile.TemporaryFile(), io.StringIO()
    text = io.TextIOWrapper(out, write_through=True)
    with contextlib.redirect_stdout(text), contextlib.redirect_stderr(err):
        code = main(line)
    out.seek(0)
    return [code, out.read().decode(), err.getvalue()]
for line in sys.stdin:
    print(json.dumps(ask(json.loads(line))), flush=True)
"""


def configuration(*, later: bool) -> str:
    """Later one source is gone, and one is of another type."""
    text = SERVER
    for name, keys in SOURCES.items():
        if not later or name != "gone":
            kind = "segment" if later and name == "changing" else "webhook"
            table = {"type": kind, "tokens": [TOKEN], **keys}
            text += "\n".join([f"[sources.{name}]", *(f"{key} = {json.dumps(table[key])}" for key in table), ""])
    return text


class Server:
    """A server of that version, which writes its log into a file."""

    def __init__(self, checkout: Path, directory: Path) -> None:
        self._checkout = checkout
        self._directory = directory
        self.store = directory / "data"
        self.deliveries: list[str] = []
        self._start()

    def _start(self) -> None:
        command = [str(self._checkout / ".venv/bin/python"), "-P", str(self._checkout / "tests/launcher.py")]
        self._log = (self._directory / "log").open("w+b")
        self.process = subprocess.Popen(
            [*command, "--waits", "0.01,600", "serve", "--config", "tidegate.toml"],
            cwd=self._directory,
            stderr=self._log,
            env={"PYTHONPATH": str(self._checkout)},
        )
        until(lambda: any(line.get("event") == "ready" for line in self._lines()))
        ready = next(line for line in self._lines() if line.get("event") == "ready")
        self.port = int(ready["ingest"].split("/ingest")[0].rsplit(":", 1)[1])
        self.admin_port = int(ready["admin"].rsplit(":", 1)[1])

    def _lines(self) -> Iterator[dict[str, Any]]:
        text = (self._directory / "log").read_bytes().splitlines()
        yield from (json.loads(line) for line in text if line.startswith(b"{"))

    def end(self, *, kill: bool) -> None:
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait()
        self._log.close()

    def post(self, source: str, body: object, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", f"/ingest/inbound/{source}", data, {**bearer(), **(headers or {})})
        response = connection.getresponse()
        found: dict[str, Any] = json.loads(response.read())
        assert response.status == 200, found
        self.deliveries.append(found["delivery"])
        connection.close()
        return found

    def post_together(self, source: str, bodies: Sequence[object]) -> None:
        """Each on a connection of its own that is known already; all of them before any answer is read."""
        sockets = [socket.create_connection(("127.0.0.1", self.port)) for _ in bodies]
        for each in sockets:
            self._read(each, self._request("archive", {"inbound_event_id": f"first-{self.port}", "of": str(each)}))
        with ThreadPoolExecutor(1) as pool:  # while this one is read all others come
            large = pool.submit(self.post, "archive", [{"inbound_event_id": "large", "is": "x" * 900_000}])
            for each, body in zip(sockets, bodies, strict=True):
                each.sendall(self._request(source, body))
            for each in sockets:
                self._read(each, b"")
            large.result()

    @staticmethod
    def _request(source: str, body: object) -> bytes:
        data = json.dumps(body).encode()
        head = f"POST /ingest/inbound/{source} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer {TOKEN}\r\n"
        return f"{head}Content-Length: {len(data)}\r\nX-Request-Id: r-{len(data)}\r\n\r\n".encode() + data

    def _read(self, each: socket.socket, request: bytes) -> None:
        each.sendall(request)
        response = http.client.HTTPResponse(each)
        response.begin()
        found = json.loads(response.read())
        assert response.status == 200, found
        self.deliveries.append(found["delivery"])

    def pending(self) -> dict[str, int]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port)
        connection.request("GET", "/sources")
        found = json.loads(connection.getresponse().read())
        return {source["id"]: source["pending"] for source in found["sources"]}

    def requeue(self, source: str, *event_ids: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port)
        body = json.dumps({"source": source, "event_ids": event_ids}).encode()
        connection.request("POST", "/requeue", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        said = response.read()
        assert response.status == 200, said


def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}", "User-Agent": "fixture/1", "Content-Type": "application/json"}


def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def item(event_id: object, **keys: object) -> dict[str, object]:
    return {"inbound_event_id": event_id, **keys}


def segment(name: str, count: int, **keys: object) -> dict[str, object]:
    kinds = ("track", "identify", "page")
    batch = [
        {"type": kinds[at % 3], "messageId": f"{name}-{at}-{CHOSEN.getrandbits(64):x}", "userId": f"u-{at % 7}"}
        for at in range(count)
    ]
    return {"batch": batch, "sentAt": "2026-11-29T06:00:00.123Z", "context": {"library": {"name": "fixture"}}, **keys}


def fill(server: Server) -> None:
    """Everything but what only the journal has."""
    post = server.post
    post("hooks", item("plain", event_type="order.paid", payload={"amount": 1}, id="provider-1"))
    post("hooks", item("ünï-codé ☃", event_type="größe", value="𝄞 \u2028", provider_event_id="p-2"))
    post("hooks", item(17, payload=None), {"X-Extra": "kept"})
    post("hooks", {"payload": [1, 2, 3], "event_type": "from.header"}, {"webhook-id": "in-the-header"})
    post("hooks", {"event_type": "generated", "payload": {"payload": {"deep": True}}})
    post("hooks", b' {"inbound_event_id": "escaped", "\\u0070ayload": {"key": "was escaped"}} ')
    post("hooks", [item("b-1"), {"no": "id"}, 3, item("b-2", payload="text"), item(True), {"id": 5, "payload": {}}])
    post("hooks", [item(f"many-{at}", payload={"at": at}) for at in range(300)])
    post("hooks", item("with-result", payload={"do": "result", "value": {"ü": [1, None, 2.5]}}))
    post("hooks", [item("big-result", payload={"do": "big"}), item("other-result", payload={"do": "result"})])
    post("hooks", [item("dies", payload={"do": "fail"}), item("dies-too", payload={"do": "fail"})])
    post("hooks", item("dies-once", payload={"do": "fail", "times": 2}))
    post("hooks", item("dies-twice", payload={"do": "fail"}))
    post("retried", [item("waits-for-its-retry", payload={"do": "fail"}), item("is-fine")])
    post("retried", item("fails-once", payload={"do": "fail", "times": 1}))
    post("archive", item("archived", payload={"a": 1}))
    post("archive", [item(f"archived-{at}", text="lorem ipsum " * 4000) for at in range(40)])
    post("hashed", {"b": 2, "a": 1})
    post("hashed", [{"a": 1, "b": 2}, {"payload": {"x": 1}}, {"payload": {"x": 1}}])
    post("segment", segment("s", 250))
    post("segment", segment("t", 280) | {"batch": [*segment("t", 3)["batch"], {"type": "no"}, 7]})  # type: ignore[misc]
    post("segment", {"type": "alias", "messageId": "alone", "previousId": "p", "userId": "u"})
    post("stuck", [item(f"stuck-{at}") for at in range(5)])
    post("held", [item(f"held-{at}", payload=at) for at in range(6)])
    post("held", item("held-alone"))
    post("dropping", [item(f"dropping-{at}", payload=at) for at in range(7)])
    post("dropping", item("dropped-alone", payload={"not": "kept"}))
    post("changing", [item("of-a-webhook", type="track", messageId="of-a-webhook"), {"id": 1}])
    post("gone", [item("gone-1"), {"event_type": "generated"}])
    until(lambda: server.pending()["hooks"] == 0 and server.pending()["segment"] == 0)
    for _ in range(2):
        post("hooks", item("plain", event_type="order.paid", payload={"amount": "again"}))
    post("hooks", [item(f"many-{at}", payload={"at": at}) for at in range(300)])
    server.requeue("hooks", "dies-once", "dies-twice")
    server.post_together("archive", [item(f"together-{at}", payload={"at": at}) for at in range(40)])
    server.post_together("archive", [{"event_type": f"k.{at % 3}", "id": at, "v": "x" * at} for at in range(40)])
    server.post_together("segment", [segment("r", 1)["batch"][0] | {"sentAt": "now"} for _ in range(30)])  # type: ignore[index]
    until(lambda: server.pending()["hooks"] == 0 and server.pending()["segment"] == 0)
    post("hooks", [item(f"more-{at}", event_type="more") for at in range(260)])
    until(lambda: server.pending()["hooks"] == 0)


def leave_in_journal(server: Server) -> None:
    """What is acknowledged while somebody else holds LMDB's lock of writers is in no transaction. Ends the server."""
    with lmdb.open(str(server.store), map_size=2**30, max_dbs=16) as env, env.begin(write=True):
        post_few(server)
        server.end(kill=True)


def post_few(server: Server) -> None:
    server.post("hooks", item("only-journal", payload={"do": "result", "value": 1}))
    server.post("hooks", [item("only-journal-1"), {"no": "id", "payload": 0}, "bad", item("plain")])
    server.post("dropping", [item(f"journal-dropping-{at}") for at in range(5)])
    server.post(
        "held", [item("journal-held-1"), item("journal-held-2"), item("journal-held-3"), item("journal-held-4")]
    )
    server.post("segment", segment("j", 4))
    server.post("changing", {"type": "track", "messageId": "of-segment", "payload": 1})
    for at in range(3):
        server.post("archive", item(f"journal-archive-{at}"))


def answers(checkout: Path, directory: Path, deliveries: Sequence[str]) -> list[Any]:
    """What the commands say: arguments without the configuration, exit code, stdout, stderr."""
    child = subprocess.Popen(
        [checkout / ".venv/bin/python", "-c", ASK, checkout],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin
    assert child.stdout
    said: list[Any] = []

    def ask(*arguments: str) -> str:
        assert child.stdin
        assert child.stdout
        name, *rest = arguments
        child.stdin.write(json.dumps([name, "--config", "tidegate.toml", *rest]) + "\n")
        child.stdin.flush()
        code, stdout, stderr = json.loads(child.stdout.readline())
        said.append([list(arguments), code, stdout, stderr])
        return str(stdout)

    ids = set()
    for delivery in sorted(set(deliveries)):
        found = json.loads(ask("delivery", delivery))
        ids |= {
            (found["source_config_id"], each["inbound_event_id"])
            for each in found["items"]
            if "inbound_event_id" in each
        }
    for source, event_id in sorted(ids):
        ask("event", source, "--", event_id)
        ask("receipt", "--all", source, "--", event_id)
    ask("dead")
    ask("verify")
    child.stdin.close()
    child.wait()
    return said


def main() -> None:
    checkout = Path(sys.argv[1]).absolute()
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        shutil.copy(checkout / "tests/work.py", directory)
        (directory / "tidegate.toml").write_text(configuration(later=False))
        server = Server(checkout, directory)
        try:
            fill(server)
        finally:
            server.end(kill=False)
        deliveries = server.deliveries
        (directory / "tidegate.toml").write_text(configuration(later=True))
        server = Server(checkout, directory)
        leave_in_journal(server)
        deliveries += server.deliveries
        pack = zstandard.ZstdCompressor(level=19)
        with io.BytesIO() as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                tar.add(directory / "tidegate.toml", "tidegate.toml")
                for name in ("data.mdb", "journal", "writer.lock"):
                    tar.add(directory / "data" / name, f"data/{name}")
            (HERE / "store.tar.zst").write_bytes(pack.compress(archive.getvalue()))
        said = answers(checkout, directory, deliveries)
        (HERE / "answers.json.zst").write_bytes(pack.compress(json.dumps(said, ensure_ascii=False, indent=0).encode()))


if __name__ == "__main__":
    main()
