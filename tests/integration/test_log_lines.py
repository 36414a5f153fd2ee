"""What the log of a running server says about its senders and their events, and what it never says."""

from tests.support.client import item
from tests.support.config import source
from tests.support.server import Child, Children
from tests.support.waiting import eventually

DEMO = source("demo")


def refused(child: Child, code: str) -> dict[str, object]:
    """The last line about a refusal with this code."""
    eventually(lambda: any(line["code"] == code for line in child.lines_of("refused")))
    return [line for line in child.lines_of("refused") if line["code"] == code][-1]


def test_a_refusal_names_address_and_source(children: Children) -> None:
    """The source is named only for a sender whose token is right for it; the address is the proxies' client."""
    child = children(DEMO, server_keys='trusted_proxies = ["127.0.0.1/32"]')
    child.start()
    client = {"X-Forwarded-For": "192.0.2.7"}
    assert child.post("demo", b"{", headers=client).status == 400
    line = refused(child, "invalid_json")
    assert (line["remote_addr"], line["source"], line["suppressed"]) == ("192.0.2.7", "demo", 0)
    assert child.post("demo", item("a"), headers=client, token="guessed").status == 401
    line = refused(child, "unauthorized")
    assert (line["remote_addr"], "source" in line) == ("192.0.2.7", False)
    assert child.request("GET", "/nothing", headers=client).status == 404
    assert refused(child, "not_found")["remote_addr"] == "192.0.2.7"


def test_a_removed_source_is_not_named(children: Children) -> None:
    """A head that was let in before is a stranger's when its source is gone."""
    child = children(DEMO + source("other"))
    child.start()
    with child.session() as session:
        assert session.post("demo", item("a")).status == 200
        child.write(source("other"))
        child.reload()
        assert session.post("demo", item("a")).status == 401
    assert "source" not in refused(child, "unauthorized")


def test_deaths_and_limits_are_said(children: Children) -> None:
    """A dead event and a rate limit that is reached have their lines; /sources says when the last error was."""
    limit = {"rate_limit_events_per_second": 0.001, "over_limit": "drop"}
    child = children(
        source("fails", processor="processors:always_fails", processor_attempts_max=1) + source("drops", **limit)
    )
    child.start()
    assert child.post("drops", [item("a"), item("b"), item("c")]).json["dropped"] == 2
    line = child.wait_for_line("over the rate limit")
    assert (line["source"], line["mode"], line["count"]) == ("drops", "drop", 2)
    sources = child.admin("/sources").json["sources"]
    assert {each["since_start"]["last_error_at"] for each in sources} == {None}
    child.post("fails", item("a"))
    line = child.wait_for_line("event died")
    assert (line["source"], line["kind"]) == ("fails", "ValueError")
    [fails] = [each for each in child.admin("/sources").json["sources"] if each["id"] == "fails"]
    assert fails["since_start"]["last_error_at"].endswith("Z")
