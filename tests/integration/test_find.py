"""Finding events beside a real server: `events` and `tail`, `/events` and `/tail`, page by page and as they come."""

import csv
import http.client
import io
import json
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from server.cli import tail
from server.cli.events import before_newest
from server.cli.failure import CommandFailed
from server.cli.interrupt import Interruptible
from server.cli.main import main
from server.http.admin.event_routes import FOLLOWERS_MAX
from server.observe.events import page_of
from storage.codec.index_rows import GRANULE
from storage.lmdb_store.environment import Store
from storage.model import Group
from storage.read.query import EventQuery
from storage.read.reader import Reader
from storage.read.snapshot import Snapshots
from tests.support.config import source
from tests.support.server import Child, Children
from tests.support.store import filled, numbered, opened
from tests.support.waiting import HANG_SECONDS, eventually

pytestmark = pytest.mark.xdist_group("find")  # one server for all of them

SENT = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One server for the whole file, with events of two sources: some processed, some dead."""
    with Children(tmp_path_factory.mktemp("find")) as children:
        sections = [
            source("orders"),
            source("fails", processor="processors:always_fails", processor_attempts_max=1),
            source("later"),
        ]
        with children("".join(sections)) as child:
            for at in range(SENT):
                payload = {"n": at, "t": str(at)}
                fields = {"event_type": f"type-{at % 2}", "provider_event_id": f"p-{at}", "payload": payload}
                assert child.post("orders", {"inbound_event_id": f"id-{at}", **fields}).status == 200
            child.post("fails", [{"inbound_event_id": "bad-1", "x": 1}, {"inbound_event_id": "bad-2", "x": 2}])
            eventually(lambda: all(each["outcome"] != "pending" for each in listed(child, limit=100)["events"]))
            yield child


def listed(server: Child, **query: object) -> Any:
    """The answer of `/events`."""
    answer = server.admin(f"/events?{urlencode(query)}")
    assert answer.status == 200, answer
    return answer.json


def ids(answer: Any) -> list[str]:
    return [each["inbound_event_id"] for each in answer["events"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"source": "fails"}, ["bad-2", "bad-1"]),
        ({"source": "fails", "order": "oldest"}, ["bad-1", "bad-2"]),
        ({"outcome": "dead", "limit": 1}, ["bad-2"]),
        ({"event_id": "id-7"}, ["id-7"]),
        ({"provider_id": "p-7"}, ["id-7"]),
        ({"provider_id": "p-7", "source": "fails"}, []),
        ({"id": "bad"}, ["bad-2", "bad-1"]),
        ({"where": "payload.n=7"}, ["id-7"]),
        ({"where": "/payload/t=8"}, ["id-8"]),
        ({"where": 'payload.n="7"'}, []),
        ({"type": "type-1", "limit": 2}, ["id-29", "id-27"]),
        ({"since": "1h", "source": "fails"}, ["bad-2", "bad-1"]),
        ({"until": "1h"}, []),
        ({"since": "2038-01-01"}, []),
        ({"after": SENT, "order": "oldest"}, ["bad-1", "bad-2"]),
        ({"before": 3}, ["id-1", "id-0"]),
    ],
)
def test_events_are_found_by_each_condition(server: Child, query: dict[str, object], found: list[str]) -> None:
    """Each condition finds what it says, the newest first unless it is said otherwise."""
    answer = listed(server, **query)
    assert ids(answer) == found


def test_pages_go_on_by_number(server: Child) -> None:
    """What `next` says, added to the query, gives the next page, until there is none."""
    query: dict[str, object] | None = {"source": "orders", "limit": 7}
    found: list[str] = []
    while query is not None:
        answer = listed(server, **query)
        found += ids(answer)
        query = query | answer["next"] if answer["next"] else None
    assert found == [f"id-{at}" for at in reversed(range(SENT))]


def test_json_lines_name_the_next_page(server: Child) -> None:
    """As JSON lines a page has nothing but events; where to go on is in a header."""
    answer = server.admin("/events?format=ndjson&limit=2&source=orders")
    numbers = [json.loads(line)["number"] for line in answer.body.splitlines()]
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["tidegate-next"] == f"before={numbers[-1]}"


def test_payloads_come_when_asked_for(server: Child) -> None:
    """An event in a list has its payload only where that is said."""
    assert "payload" not in listed(server, event_id="id-3")["events"][0]
    assert listed(server, event_id="id-3", payload="true")["events"][0]["payload"] == {"n": 3, "t": "3"}
    assert listed(server, outcome="dead", limit=1)["events"][0]["error"]


def test_a_list_parses_a_body_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many events of a delivery are listed, newest or oldest first, with the payload of each."""
    body, parsed = b'[{"n":0},{"n":1},{"n":2}]', list[bytes]()

    def loads(text: bytes) -> Any:
        parsed.append(text)
        return json.loads(text)

    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(1, 3, body=body)]))
        monkeypatch.setattr("server.intake.events.orjson", SimpleNamespace(loads=loads, dumps=orjson.dumps))
        for oldest_first, order in ((True, [0, 1, 2]), (False, [2, 1, 0])):
            values, _ = page_of(Reader(store), EventQuery(oldest_first=oldest_first), payloads=True)
            assert [value["payload"] for value in values] == [{"n": each} for each in order]
    assert parsed == [body, body]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sorce=orders", "the query takes source, type"),
        ("since=tomorrow", "neither a time"),
        ("outcome=done", "not an outcome"),
        ("where=x", "not PATH=VALUE"),
        ("where=n%3D1", "that is payload.n"),
        ("before=-1", "not the number"),
        ("limit=0", "limit is a number"),
        ("limit=501", "limit is a number"),
        ("order=up", "order is one of"),
        ("format=xml", "format is one of"),
        ("payload=1", "payload is one of"),
        ("source=a&source=b", "source is there twice"),
        ("id=%ff", "UTF-8"),
    ],
)
def test_mistakes_in_a_query_are_named(server: Child, query: str, words: str) -> None:
    """What cannot be understood is refused and named: a condition that is passed over would show too much."""
    answer = server.admin(f"/events?{query}")
    assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert words in answer.json["message"]


def test_a_scan_says_how_much_it_saw(server: Child) -> None:
    """What finds nothing tells how much it looked at."""
    answer = listed(server, where="payload.n=-1")
    assert (answer["events"], answer["next"]) == ([], None)
    assert answer["looked_at"] >= SENT


# The commands.


def sockets() -> tuple[int, int]:
    """The descriptors of two sockets that are connected."""
    one, other = socket.socketpair()
    return one.detach(), other.detach()


def test_the_command_lists_the_same_events(server: Child) -> None:
    """`events` shows what `/events` does, as JSON lines in a pipe."""
    done = server.cli("events", "orders", "--last", "3", "--type", "type-0", check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == listed(server, source="orders", type="type-0", limit=3)["events"]
    oldest = server.cli("events", "orders", "--last", "2", "--oldest", check=True).stdout.splitlines()
    assert [json.loads(line)["inbound_event_id"] for line in oldest] == ["id-28", "id-29"]
    many = server.cli("events", "--last", "999999", "--oldest", "--before", "4", check=True).stdout.splitlines()
    assert [json.loads(line)["inbound_event_id"] for line in many] == ["id-0", "id-1", "id-2"]
    first = server.cli("events", "orders", "--oldest", "--before", "3", check=True).stdout.splitlines()
    assert [json.loads(line)["inbound_event_id"] for line in first] == ["id-0", "id-1"]


def test_the_command_writes_tables_and_csv(server: Child) -> None:
    """A table has a head and a line for each event; CSV is read by whatever reads CSV."""
    table = server.cli("events", "fails", "--format", "table", check=True).stdout.splitlines()
    assert [line.split()[-1] for line in table] == ["ID", "bad-2", "bad-1"]
    full = server.cli("events", "--where", "payload.n=5", "--payload", "--format", "table", check=True).stdout
    assert full.splitlines()[1].endswith('{"n":5,"t":"5"}')
    none = server.cli("events", "--where", "payload.n=-5", "--format", "table", check=True)
    assert (none.stdout, none.stderr) == ("", "tidegate: there is no such event\n")
    text = server.cli("events", "--where", "payload.n=5", "--payload", "--format", "csv", check=True).stdout
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["inbound_event_id"], json.loads(row["payload"])) == ("id-5", {"n": 5, "t": "5"})


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--since", "soon"], "neither a time"),
        (["--outcome", "done"], "not an outcome"),
        (["--where", "payload"], "not PATH=VALUE"),
        (["--where", "n=1"], "that is payload.n"),
        (["--all", "--last", "3"], "not both"),
    ],
)
def test_mistakes_of_the_command_exit_2(server: Child, arguments: list[str], words: str) -> None:
    """A mistake is one line, and exit 2."""
    done = server.cli("events", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


@pytest.mark.parametrize(("limit", "after"), [(0, 1203), (1, 1202), (1201, 2), (1203, 0), (9999, 0)])
def test_the_newest_are_counted_page_by_page(tmp_path: Path, limit: int, after: int) -> None:
    """Where the newest begin is found without keeping them; what comes meanwhile is none of them."""
    with opened(tmp_path / "store") as (store, writer):
        writer.write(Group([numbered(1, 1203)]))
        reader, interrupt = Reader(store), Interruptible()
        end = reader.end()
        writer.write(Group([numbered(1204, 5)]))
        assert before_newest(reader, EventQuery(limit=limit), end, interrupt) == after
        assert before_newest(reader, EventQuery(source_id="none", after=7, limit=limit), end, interrupt) == 1203


def test_counting_the_newest_ends_at_ctrl_c(tmp_path: Path) -> None:
    """Nothing was shown by then, and there is no number to go on from."""
    interrupt = Interruptible()
    with interrupt, opened(tmp_path / "store") as (store, _):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(CommandFailed, match="nothing was shown") as failed:
            before_newest(Reader(store), EventQuery(limit=1), 1, interrupt)
    assert failed.value.code == 130


@pytest.mark.parametrize("command", ["events", "tail"])
def test_an_unknown_source_is_named(server: Child, command: str) -> None:
    """A source that neither configuration nor store has is probably mistyped: exit 1, and it is said."""
    done = server.cli(command, "ordres")
    assert (done.returncode, done.stdout) == (1, "")
    assert "'ordres'" in done.stderr


def test_a_listing_says_how_to_go_on(server: Child) -> None:
    """Where there may be more, a line for people says which option shows it."""
    done = server.cli("events", "orders", "--last", "2", check=True)
    number = json.loads(done.stdout.splitlines()[-1])["number"]
    assert f"--before {number}" in done.stderr


def test_tail_shows_the_newest_events(server: Child) -> None:
    """Without -f it is the end of the log, the oldest first; after a number it is all that came since."""
    shown = server.cli("tail", "orders", "--last", "2", check=True).stdout.splitlines()
    assert [json.loads(line)["inbound_event_id"] for line in shown] == ["id-28", "id-29"]
    after = server.cli("tail", "--after", str(SENT), check=True).stdout.splitlines()
    assert [json.loads(line)["inbound_event_id"] for line in after] == ["bad-1", "bad-2"]
    line = server.cli("tail", "fails", "--last", "1", "--payload", "--format", "table", check=True).stdout
    assert line.split()[-1] == '{"inbound_event_id":"bad-2","x":2}'


def test_tail_begins_within_the_store(server: Child) -> None:
    """A number beyond the last is refused, with or without -f: what comes would not be shown for as many events."""
    last = listed(server, limit=1)["events"][0]["number"]
    assert server.cli("tail", "--after", str(last), check=True).stdout == ""
    for more in ([], ["-f"]):
        done = server.cli("tail", "--after", str(last + 1), *more)
        assert (done.returncode, done.stdout) == (2, "")
        assert (
            f"--after {last + 1} is beyond the end of the store, whose last event has the number {last}" in done.stderr
        )


def test_tail_begins_at_one_place(server: Child) -> None:
    """How many of the newest, and after which number, are two beginnings: not both."""
    done = server.cli("tail", "--after", "1", "--last", "3")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--last or --after; not both" in done.stderr


def test_an_empty_store_is_followed_from_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The number that a tail of an empty store says at its end is one to go on from."""
    filled(tmp_path / "data", [])
    path = tmp_path / "tidegate.toml"
    path.touch()
    assert main(["tail", "--config", str(path), "--after", "0"]) == 0
    assert main(["tail", "--config", str(path), "--after", "1"]) == 2
    assert "the store, which has no event yet" in capsys.readouterr().err


def test_tail_follows_until_ctrl_c(server: Child) -> None:
    """With -f each event that comes is shown once, and at Ctrl-C the number to go on from is said."""
    command = [*server.command, "tail", "-f", "later", "--after", "1", "--config", str(server.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=server.environment) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        shown = []
        for at in range(3):
            server.post("later", {"inbound_event_id": f"followed-{at}"})
            shown.append(json.loads(child.stdout.readline()))
        child.send_signal(signal.SIGINT)
        rest, words = child.communicate()
    assert ([each["inbound_event_id"] for each in shown], rest) == ([f"followed-{at}" for at in range(3)], b"")
    assert (child.returncode, f"--after {shown[-1]['number']}" in words.decode()) == (130, True)


@pytest.mark.parametrize("make", [os.pipe, sockets], ids=["pipe", "socket"])
def test_tail_ends_when_nobody_reads(server: Child, make: Callable[[], tuple[int, int]]) -> None:
    """Once the reader of stdout has gone, as `head -1` does, -f ends, though no further event comes."""
    ours, theirs = make()
    command = [*server.command, "tail", "-f", "orders", "--last", "1", "--config", str(server.config)]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=server.environment) as child:
        os.close(theirs)
        shown = os.read(ours, 65536)
        os.close(ours)
        _, words = child.communicate(timeout=HANG_SECONDS)
    assert (json.loads(shown)["inbound_event_id"], child.returncode, words) == ("id-29", 141, b"")


def test_the_last_0_show_what_comes(server: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--last 0` shows nothing of what is there: with -f only what comes; fewer than none are a mistake."""
    assert server.cli("tail", "--last", "0", check=True).stdout == ""

    class Once(Interruptible):
        """Something comes while it waits; then Ctrl-C is pressed."""

        waits = 0

        @property
        def is_interrupted(self) -> bool:
            return self.waits > 1

        def wait(self, seconds: float) -> None:
            self.waits += 1
            server.post("later", {"inbound_event_id": f"came-{self.waits}"})
            eventually(lambda: listed(server, event_id=f"came-{self.waits}", outcome="processed")["events"])

    monkeypatch.setattr(tail, "Interruptible", Once)
    shown = server.cli("tail", "--last", "0", "-f").stdout.splitlines()
    assert [json.loads(line)["inbound_event_id"] for line in shown] == ["came-1"]
    refused = server.cli("tail", "--last", "-1")
    assert (refused.returncode, "--last: must be an integer from 0 on, not '-1'" in refused.stderr) == (2, True)


def test_an_unknown_source_is_not_found(server: Child) -> None:
    """What asks about a source that is nowhere is told so, and one that only the configuration has is empty."""
    for path in ("/events?source=%s", "/tail?source=%s", "/dead?source=%s", "/dead?source=%s&group=kind"):
        found = server.admin(path % "fals")
        assert (found.status, found.json["code"]) == (404, "not_found"), path
    assert server.admin("/dead?source=later").body == b""


# Following.


@contextmanager
def following(server: Child, query: str = "", last_event_id: int | None = None) -> Iterator["Follower"]:
    """A follower of `/tail`, once it is there."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=HANG_SECONDS)) as connection:
        headers = {} if last_event_id is None else {"Last-Event-ID": str(last_event_id)}
        connection.request("GET", f"/tail{query}", headers=headers)
        yield Follower(connection.getresponse())


class Follower:
    """Reads events as a browser does."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream"
        self.response = response

    def next(self) -> tuple[int, Any]:
        """Number and content of the next event; None for one that only tells the number."""
        number, data = -1, None
        while line := self.response.readline().strip():
            name, _, text = line.partition(b": ")
            if name == b"id":
                number = int(text)
            elif name == b"data":
                data = json.loads(text)
        return number, data

    def events(self, count: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < count:
            _, data = self.next()
            found += [] if data is None else [data]
        return found


def test_followers_hear_what_comes(server: Child) -> None:
    """A follower hears each event of its source once, in order, without its payload unless that is asked for."""
    with following(server, "?source=later") as follower, following(server, "?source=later&payload=true") as other:
        begin, nothing = follower.next()
        assert nothing is None
        server.post("orders", {"inbound_event_id": "not for them", "event_type": "type-9"})
        server.post("later", [{"inbound_event_id": f"heard-{at}", "x": at} for at in range(5)])
        heard = follower.events(5)
        assert [each["inbound_event_id"] for each in heard] == [f"heard-{at}" for at in range(5)]
        assert all(each["number"] > begin and "payload" not in each for each in heard)
        assert [each["payload"]["x"] for each in other.events(5)] == list(range(5))


def test_a_follower_goes_on_without_a_gap(server: Child) -> None:
    """Who comes back with the last number that it heard gets all that came since, and nothing twice."""
    with following(server, "?source=later") as follower:
        follower.next()
        server.post("later", [{"inbound_event_id": f"gap-{at}"} for at in range(3)])
        last = follower.events(2)[-1]["number"]
    server.post("later", {"inbound_event_id": "while-away"})
    with following(server, "?source=later&after=1", last) as follower:
        assert [each["inbound_event_id"] for each in follower.events(2)] == ["gap-2", "while-away"]
    for wrong in ({"Last-Event-ID": "x"}, {"Last-Event-ID": "5", "last-event-id": "7"}, {"Last-Event-ID": "9999999"}):
        answer = server.admin("/tail", headers=wrong)
        assert (answer.status, answer.json["code"]) == (400, "invalid_request")
    assert "of another store" in server.admin("/tail?after=9999999").json["message"]


def test_asking_for_the_head_follows_nothing(server: Child) -> None:
    """However often that is asked, as a probe does, there is room for followers."""
    for _ in range(FOLLOWERS_MAX + 1):
        answer = server.admin("/tail", method="HEAD")
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
    with following(server, "?source=later") as follower:
        server.post("later", {"inbound_event_id": "heard"})
        assert follower.events(1)[0]["inbound_event_id"] == "heard"


def test_only_so_many_may_follow(tmp_path: Path) -> None:
    """One follower too many is told to come back; when one has gone there is room again. A drain waits for none."""
    with Children(tmp_path) as children, children(source("orders")) as server:
        connections = []
        for _ in range(16):
            connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=HANG_SECONDS)
            connection.request("GET", "/tail")
            Follower(connection.getresponse()).next()
            connections.append(connection)
        answer = server.admin("/tail")
        assert (answer.status, answer.json["code"], "retry-after" in answer.headers) == (503, "overloaded", True)
        for connection in connections[:8]:
            connection.close()

        def has_room() -> bool:
            server.post("orders", {"x": 1})
            with closing(http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=HANG_SECONDS)) as one:
                one.request("GET", "/tail")
                return one.getresponse().status == 200

        eventually(has_room)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        for connection in connections[8:]:
            connection.close()


# The index of a server.


def test_a_server_indexes_what_comes(tmp_path: Path) -> None:
    """What fills a segment is indexed while the server runs, and is found after a kill and a start, too."""
    with Children(tmp_path) as children, children(source("orders")) as server:
        for at in range(5):
            events = [{"inbound_event_id": f"id-{at}-{each}"} for each in range(GRANULE)]
            assert server.post("orders", events).status == 200
        eventually(lambda: indexed(server) >= 4 * GRANULE)
        server.kill()
        server.start()
        assert ids(listed(server, event_id="id-2-7")) == ["id-2-7"]
        assert json.loads(server.cli("receipt", "orders", "id-0-1", check=True).stdout)["outcome"] == "processed"
        assert server.cli("verify").returncode == 0


def test_an_index_that_cannot_read_warns(tmp_path: Path) -> None:
    """Behind a record that cannot be read nothing is indexed; log and readiness say so, and what is there is found."""
    with Children(tmp_path) as children, children(source("orders")) as server:
        server.post("orders", [{"inbound_event_id": f"old-{each}"} for each in range(GRANULE // 2)])
        server.stop()
        with opened(server.store) as (store, _), store.env.begin(write=True) as txn:
            for key, value in list(txn.cursor(db=store.facts)):
                txn.put(key, value[:-1] + bytes([value[-1] ^ 255]), db=store.facts)
        server.start()
        server.post("orders", [{"inbound_event_id": f"new-{each}"} for each in range(GRANULE)])
        server.wait_for_line("nothing more is indexed: the store cannot be read")
        assert "index_stopped" in [each["warning"] for each in server.admin("/readyz").json["warnings"]]
        assert ids(listed(server, event_id="new-7")) == ["new-7"]
        with following(server, "?after=1&payload=true") as follower:
            said = follower.response.read()
        assert b'event: error\ndata: {"code":"storage_failed"' in said
        assert server.stop() == 0
        assert server.errors == []


def indexed(server: Child) -> int:
    """The number up to which the index of a server's store reaches."""
    with closing(Store.open(server.store, mode="read")) as store, Snapshots(store).take() as snapshot:
        return snapshot.index.end
