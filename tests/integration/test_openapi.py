"""The document at `/openapi.json`: a running server is asked all that it says, and answers as it says.

Schemathesis makes the requests, good and bad ones, the same in each run, and judges the answers.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.client import item
from tests.support.config import TOKEN, source
from tests.support.server import Child, Children
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("openapi")  # one server for all of them

ADMIN_TOKEN = "a-token-of-the-admin-side"
EXAMPLES = 3
"""Requests by chance, for each route; to known sources go those that its schema and its limits make by themselves."""
SEED = 1
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
PUBLIC = r"^((/ingest/inbound/\{source_id\})?(/v1/(batch|t))?|/livez|/readyz)$"
"""All routes but those of SDKs that are like these two."""
ENDLESS = ("--exclude-path", "/tail")
"""An answer that never ends cannot be judged."""
IDS = ["a", "s/l", "50%", "ünï"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One server for the whole file, in whose store there is an event of each outcome, and pending ones."""
    sections = [
        source("demo", processor="processors:plain"),
        source("fails", processor="processors:always_fails", processor_attempts_max=1),
        source("slow", rate_limit_events_per_second=0.0001),
        source("drops", rate_limit_events_per_second=0.0001, over_limit="drop"),
        source("paused", paused=True, cors_origins=["https://shop.example"], type="segment"),
    ]
    token = f'admin_token = "{ADMIN_TOKEN}"\n'
    with (
        Children(tmp_path_factory.mktemp("openapi")) as children,
        children("".join(sections), server_keys=token) as child,
    ):
        for name in ("demo", "fails", "slow", "drops", "demo"):
            assert child.post(name, [item(event_id) for event_id in IDS] + ["no event"]).status == 200
        assert child.post("paused", {"type": "track", "messageId": "a"}).status == 200
        assert child.post("demo", b"no json").status == 400
        eventually(lambda: "outcome" in admin(child, "/receipts/fails/a"))
        yield child


def admin(server: Child, path: str) -> str:
    return server.admin(path, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}).body.decode()


def ask(server: Child, tmp_path: Path, side: tuple[int, str], chosen: Sequence[str], known: str) -> None:
    """Have a side of the server, its port and token, asked for the chosen routes of the document; fail with what is not
    as it says. `known`: the source in each path; any, if it is ""."""
    file, settings = tmp_path / "openapi.json", tmp_path / "schemathesis.toml"
    file.write_text(admin(server, "/openapi.json"))
    (port, token), ids = (
        side,
        {"source_id": known, "event_id": quote("s/l", safe=""), "delivery_id": "0000000000001-aaaaaa"},
    )
    fixed = "".join(f'"path.{name}" = {json.dumps(value)}\n' for name, value in ids.items())
    settings.write_text("[parameters]\n" + fixed if known else "")
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings), "run", str(file)),
        *("--url", f"http://127.0.0.1:{port}", "--header", f"Authorization: Bearer {token}"),
        *("--phases", "coverage" if known else "fuzzing", "--checks", ",".join(CHECKS)),
        *("--max-examples", str(EXAMPLES), "--seed", str(SEED), "--continue-on-failure", "--warnings", "off"),
        *chosen,
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    selected, tested = re.findall(r"(?:Selected|Tested): ([0-9]+)", done.stdout)
    assert int(selected) == int(tested) > 1
    assert [line for line in server.lines if line["level"] == "error"] == []
    assert server.errors == []


def taken(server: Child) -> float:
    """How many events were taken."""
    found = re.findall(r"^tidegate_events_received_total\{.*\} (\S+)$", admin(server, "/metrics"), re.MULTILINE)
    return sum(map(float, found))


@pytest.mark.parametrize("known", ["", "demo"])
def test_the_admin_side_answers_as_documented(server: Child, tmp_path: Path, known: str) -> None:
    """Whatever an admin route is asked, its answer has a status, type and schema that the document has for it."""
    ask(server, tmp_path, (server.admin_port, ADMIN_TOKEN), ("--include-tag", "admin", *ENDLESS), known)


@pytest.mark.parametrize("known", ["", "demo", "paused"])
def test_the_public_side_answers_as_documented(server: Child, tmp_path: Path, known: str) -> None:
    """The same of the routes of deliveries, two of SDKs among them, and of the health routes on this side; some of what
    is sent is accepted."""
    before = taken(server)
    ask(server, tmp_path, (server.port, TOKEN), ("--include-path-regex", PUBLIC), known)
    assert taken(server) > before
