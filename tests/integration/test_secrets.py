"""No secret, and nothing that is made of one, is in what the server says, answers or keeps."""

import base64
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from http.client import RemoteDisconnected
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import pytest

from server.intake.claims import Message
from server.intake.schemes import SCHEMES
from tests.support.client import Response, item
from tests.support.config import source
from tests.support.server import ROOT, Child
from tests.support.waiting import eventually

ADMIN = "admin-token"

PIECE = 8
"""So many letters of a secret or of a hash are already too many."""


def made_up(name: str) -> str:
    """Return a secret that cannot be there by chance, and that each encoding writes in another way."""
    letters = hashlib.sha3_256(name.encode()).hexdigest()
    return f"{letters[:20]}+{name}/&=%~{letters[-9:]}"


SECRETS = {
    name: made_up(name)
    for name in (
        *("token-literal", "token-env", "token-file", "token-hashed", "token-taken-out", "token-never-taken"),
        *("signing-literal", "signing-env", "signing-file", ADMIN, "admin-token-wrong", "write-key"),
    )
}
CONTROL = made_up("a-payload")
"""No secret but a payload: where this is found, a secret would have been."""

ENVIRONMENT = {"A_TOKEN": SECRETS["token-env"], "A_SIGNING_SECRET": SECRETS["signing-env"] + "\n"}
FILES = {"a-token": SECRETS["token-file"] + "\n", "a-signing-secret": SECRETS["signing-file"]}
HASHED = hashlib.sha256(SECRETS["token-hashed"].encode()).hexdigest()

PROCESSOR = """
from pathlib import Path

def work(events):
    with Path(__file__).with_name("seen").open("a") as file:
        print(events, file=file)
    raise ValueError("no luck")
"""


def traces(secret: str) -> Iterator[bytes]:
    """Yield what would tell of a secret: its beginning, its end and all of it, in every usual form, and its hashes."""
    raw = secret.encode()
    for part in (raw, raw[:PIECE], raw[-PIECE:]):
        yield from (part, quote(part, safe="").encode(), part.hex().encode(), part.hex().upper().encode(), part[::-1])
    for shift in range(3):  # as it may stand behind something else
        written = base64.b64encode(bytes(shift) + raw)[4 if shift else 0 : -4]
        yield from (written, written.translate(bytes.maketrans(b"+/", b"-_")))
    for name in ("md5", "sha1", "sha256", "sha512", "blake2b", "blake2s", "sha3_256"):
        yield from hashes(hashlib.new(name, raw).digest())
    yield from hashes(hashlib.blake2b(raw, digest_size=16).digest())


def hashes(digest: bytes) -> Iterator[bytes]:
    """Yield the beginnings of what a hash is written as."""
    yield digest[:PIECE]
    yield digest.hex()[: 2 * PIECE].encode()
    yield digest.hex()[:PIECE].encode()
    yield digest.hex()[:PIECE].upper().encode()
    yield base64.b64encode(digest)[: 2 * PIECE]


TRACES = [(name, trace) for name, secret in SECRETS.items() for trace in traces(secret)]


def found_in(place: bytes) -> list[tuple[str, bytes]]:
    return [(name, trace) for name, trace in TRACES if trace in place]


NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Host:
    """A server with a secret of every kind, and all that was heard of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.heard: list[bytes] = []
        for name, text in (FILES | {"watched.py": PROCESSOR}).items():
            (directory / name).write_text(text)
        program = [
            sys.executable,
            "-P",
            str(ROOT / "tests" / "support" / "faults.py"),
            "--broken-intake",
            "--every-line",
        ]
        stdout = str(directory / "stdout")
        launch = ["sh", "-c", f'exec "$@" >>{stdout}', "sh", *program]
        self.child = Child(directory, "", server_keys="", command=launch)
        self.child.environment |= ENVIRONMENT | {"PYTHONFAULTHANDLER": "1"}
        self.configure()

    def configure(self, *, old: str = SECRETS["token-taken-out"], more: str = "", admin: str = "") -> None:
        tokens = [SECRETS["token-literal"], "env:A_TOKEN", "file:a-token", f"sha256:{HASHED}", old]
        signing = [SECRETS["signing-literal"], "env:A_SIGNING_SECRET", "file:a-signing-secret"]
        worked = source("worked", tokens=tokens, processor="watched:work", processor_attempts_max=1)
        signed = source("signed", tokens=tokens, signing_secrets=signing, missing_event_id="hash")
        token = admin or json.dumps(SECRETS[ADMIN])
        app = source("app", type="segment", tokens=[SECRETS["write-key"]], processor="watched:work")
        self.child.write(worked + signed + app + more, server_keys=f"admin_token = {token}")

    def ask(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS) -> Response:
        return self._heard(self.child.request(method, path, body, headers))

    def ask_admin(self, method: str, path: str, body: bytes | None = None, *, name: str = ADMIN) -> Response:
        """Ask with the secret of this name; "" for none."""
        headers = {"Content-Type": "application/json"}
        if name:
            headers["Authorization"] = f"Bearer {SECRETS[name]}"
        return self._heard(self.child.admin(path, method=method, body=body, headers=headers))

    def _heard(self, answer: Response) -> Response:
        self.heard += [answer.body, json.dumps(dict(answer.headers)).encode()]
        return answer

    def send(self, name: str, token: str, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> int:
        authorization = {"Authorization": f"Bearer {token}"} if token else {}
        return self.ask("POST", f"/ingest/inbound/{name}", body, {**authorization, **headers}).status

    def command(self, *arguments: str) -> None:
        done = self.child.cli(*arguments)
        self.heard += [done.stdout.encode(), done.stderr.encode()]


def signature(body: bytes, secret: str) -> dict[str, str]:
    return dict(SCHEMES["convertmax"].sign(Message(body, secret.encode(), "", "", 0)))


def accepted(host: Host) -> None:
    """Every token and every signing secret, and headers beside that are named like secrets."""
    for name in ("token-literal", "token-env", "token-file", "token-hashed", "token-taken-out"):
        credentials = {"X-Api-Key": SECRETS[name], "X-Auth": SECRETS[name], "Cookie": SECRETS[name]}
        body = json.dumps(item(name, payload={"control": CONTROL})).encode()
        assert host.send("worked", SECRETS[name], body, credentials) == 200
    for name in ("signing-literal", "signing-env", "signing-file"):
        body = json.dumps([{"by": name}, 1]).encode()
        assert host.send("signed", SECRETS["token-env"], body, signature(body, SECRETS[name])) == 200


def accepted_of_sdks(host: Host) -> None:
    """The write key wherever SDKs put it, at the root and below the source."""
    key = SECRETS["write-key"]
    basic = {"Authorization": f"Basic {base64.b64encode(f'{key}:'.encode()).decode()}"}
    event = {"type": "track", "messageId": "a-call", "properties": {"control": CONTROL}}
    with_key = {"writeKey": key, **event}
    escaped = json.dumps(with_key).replace("writeKey", "\\u0077riteKey").encode()
    for place in ("", "/ingest/inbound/app"):
        for headers, query in ((basic, ""), ({}, f"?writeKey={quote(key, safe='')}"), ({}, "")):
            path = f"{place}/v1/batch{query}"
            for body in (with_key, {"batch": [with_key, {**event, "a": {"writeKey": 1}, "writeKey": key}]}):
                assert host.ask("POST", path, json.dumps(body).encode(), headers).status == 200
            assert host.ask("POST", path, escaped, headers).status == 200
        for spoilt in (f'{{"writeKey": "{key}x"}}', f'{{"writeKey": "{key}"', f'{{"writeKey": "{key}"}}'):
            assert host.ask("POST", f"{place}/v1/batch", spoilt.encode()).status in {400, 401}
        assert host.ask("POST", f"{place}/v1/batch?writeKey={quote(key)}x", escaped).status == 401


def refused(host: Host) -> None:
    """Each secret where another belongs, whole and spoilt, in the head, the target and the query."""
    body = json.dumps(item("refused")).encode()
    for secret in SECRETS.values():
        for written in (secret + "x", secret[:-1], f"{secret},{secret}"):
            assert host.send("worked", written, body) == 401
        assert host.send("signed", SECRETS["token-env"], body, signature(b"other", secret)) == 401
        assert host.send("signed", SECRETS["token-env"], body, {"x-convertmax-signature": secret}) == 401
        assert host.send("nobody", secret, body) == 401
        host.ask("POST", f"/ingest/inbound/worked?token={quote(secret)}", body)
        authority = f"user:{quote(secret, safe='')}@localhost"
        host.ask("POST", f"http://{authority}/ingest/inbound/worked", body, {"Host": "localhost"})
        host.ask("GET", f"/nowhere?token={secret}", headers={"Authorization": f"Bearer {secret}"})
    good = SECRETS["token-literal"]
    statuses = [host.send("worked", good, each) for each in (b"", b"{", b"[]", b"x" * 2_000_000)]
    assert statuses == [400, 400, 400, 413]
    with pytest.raises(RemoteDisconnected):  # our bug, with its traceback in the log
        host.send("worked", good, b'{"fault": 1}')
    assert host.send("worked", good, body, {"Content-Encoding": "br"}) == 415
    assert host.send("worked", good, body, {"X-Long": good * 400}) == 431
    basic = f"Basic {base64.b64encode(good.encode()).decode()}"
    assert host.send("worked", "", body, {"Authorization": basic}) == 401


def looked_up(host: Host) -> None:
    """Every admin route, and every command, with the right token, a wrong one and none."""
    receipt = host.ask_admin("GET", "/receipts/worked/token-env").json
    paths = [
        "/metrics",
        "/livez",
        "/readyz",
        "/sources",
        "/dead",
        "/receipts/worked/token-env",
        "/events/worked/token-env",
        "/refusals/worked",
        "/refusals/signed",
    ]
    paths += [f"/deliveries/{receipt['delivery']}", f"/receipts/worked/{quote(SECRETS['token-never-taken'])}"]
    for path in paths[:-1]:
        assert host.ask_admin("GET", path).status == 200
        for name in ("admin-token-wrong", ""):
            host.ask_admin("GET", path, name=name)
    command = json.dumps({"source": "worked", "all": True}).encode()
    for name in ("admin-token-wrong", ADMIN):
        host.ask_admin("POST", "/requeue", command, name=name)
    for arguments in (
        *(["check"], ["verify"], ["dead"], ["send", "worked"], ["send", "signed"], ["requeue", "worked", "--all"]),
        *(["receipt", "worked", "--all"], ["event", "worked", "token-env"], ["receipt", "worked", "nothing"]),
        *(["delivery", receipt["delivery"]], ["trust-clock", "--dry-run"], ["why", "worked"], ["why", "signed"]),
        *(["source", "list"], ["source", "add", "worked", "--type", "segment"]),
    ):
        host.command(*arguments)


def reloaded(host: Host) -> None:
    """Good ones, and bad ones in every way: also `check` and a start say what is wrong."""
    bad = SECRETS["token-never-taken"]
    for mistake in (
        {"more": "unknown = 1\n"},
        {"more": f'[sources.bad]\ntype = "webhook"\ntokens = "{bad}"\n'},
        {"more": f'[sources.bad]\ntype = "webhook"\ntokens = ["{bad} {bad}", "Env:{bad}", 1]\n'},
        {"more": f'[sources.bad]\ntype = "segment"\ntokens = ["{bad}"]\nsigning_secrets = ["{bad}"]\n'},
        {"more": f'[sources.bad]\ntype = "webhook"\ntokens = ["sha256:{bad}"]\n'},
        {"more": f'[sources.bad]\ntype = "webhook"\ntokens = ["{bad}" "{bad}"]\n'},
        {"more": f'[sources.bad]\ntype = "webhook"\ntokens = ["{bad}"]\nprocessor = "nowhere:work"\n'},
        {"admin": f'["{bad}"]'},
        {"admin": f'"{bad} "'},
    ):
        host.configure(**mistake)
        host.child.reload()
        host.command("check")
    code, words = host.child.start_that_fails()
    assert code == 2
    host.heard.append(words.encode())
    host.configure(old=SECRETS["token-file"])
    host.child.reload()
    assert host.send("worked", SECRETS["token-taken-out"], b'{"id": 1}') == 401


def of_the_process(host: Host) -> dict[str, bytes]:
    """Return what other users of the machine may see of it, and its environment without what it was given."""
    proc = Path(f"/proc/{host.child.pid}")
    environment = proc.joinpath("environ").read_bytes()
    for name, value in ENVIRONMENT.items():
        environment = environment.replace(f"{name}={value}".encode(), b"")
    names = b"".join(path.joinpath("comm").read_bytes() for path in proc.joinpath("task").iterdir())
    return {"environment": environment, "command": proc.joinpath("cmdline").read_bytes(), "threads": names}


def files_of(host: Host) -> Mapping[str, bytes]:
    """Return all that is in the directory but for what the operator put there."""
    given = {*FILES, "tidegate.toml", "commands.toml"}
    paths = [path for path in host.directory.rglob("*") if path.is_file() and path.name not in given]
    return {str(path.relative_to(host.directory)): path.read_bytes().rstrip(b"\0") for path in paths}


def test_no_secret_is_said_answered_or_kept(tmp_path: Path) -> None:
    """Through all that a server does, to its end by a signal, no secret and nothing made of one is anywhere."""
    host = Host(tmp_path)
    with host.child:
        accepted(host)
        accepted_of_sdks(host)
        refused(host)
        eventually(lambda: b"token-env" in host.ask_admin("GET", "/dead").body)
        looked_up(host)
        reloaded(host)
        places = of_the_process(host)
        host.child.signal(signal.SIGABRT)
        assert host.child.wait() == -signal.SIGABRT
    log = "\n".join([*map(json.dumps, host.child.lines), *host.child.errors]).encode()
    places |= {"log": log, "answers": b"\n".join(host.heard), **files_of(host)}
    assert {name: found for name, place in places.items() if (found := found_in(place))} == {}
    assert {"seen", "stdout"} < places.keys()
    assert any(name.endswith("data.mdb") for name in places)
    assert b"Fatal Python error: Aborted" in log
    assert b"refused" in log
    assert {name for name, place in places.items() if CONTROL.encode() in place} >= {"answers", "seen"}
    assert CONTROL.encode() not in log


@pytest.mark.parametrize("name", ["token-literal", ADMIN])
def test_the_search_finds_what_is_there(name: str) -> None:
    """Whatever a secret is written as, the search sees it."""
    secret = SECRETS[name].encode()
    written = [
        secret,
        b"user:" + secret,
        repr(secret).encode(),
        json.dumps({"x": SECRETS[name]}).encode(),
        base64.b64encode(b"ab:" + secret),
        base64.urlsafe_b64encode(b"user:" + secret),
        secret.hex().encode(),
        quote(secret).encode(),
        secret[:10] + b"...",
        b"..." + secret[-8:],
        hashlib.sha256(secret).hexdigest()[:8].encode(),
        hashlib.blake2b(secret).digest(),
        base64.b64encode(hashlib.sha256(secret).digest()),
    ]
    assert [each for each in written if not found_in(b"before " + each + b" after")] == []
    assert found_in(os.urandom(2**16)) == []


def test_a_refusal_says_nothing_of_the_token(tmp_path: Path) -> None:
    """Wrong tokens of any length, near to a right one or far from it, are logged and answered alike."""
    host = Host(tmp_path)
    with host.child:
        sent = ["x", "x" * 4000, SECRETS["token-literal"][:-1], SECRETS["token-literal"] + "x", HASHED, ""]
        for token in sent:
            host.send("worked", token, b"{}")
        assert host.child.stop() == 0
    assert len({answer for answer in host.heard if b"unauthorized" in answer}) == 1
    said = [line | {"timestamp": ""} for line in host.child.lines if line["event"] == "refused"]
    assert said == said[:1] * len(sent)
    assert set(said[0]) == {
        "timestamp",
        "level",
        "name",
        "event",
        "code",
        "status",
        "remote_addr",
        "method",
        "path",
        "suppressed",
    }
