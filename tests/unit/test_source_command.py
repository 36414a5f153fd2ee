"""`tidegate source`: what it writes, prints and refuses. No server runs."""

import getpass
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from server.cli.main import main
from server.cli.providers import PROVIDERS
from server.config.load import Config, load
from server.intake.schemes import SCHEMES
from tests.support.config import source

GIVEN = "c2VjcmV0LW9mLXRoZS12ZW5kb3I="
"""A secret of a vendor's, which is base64 as well, as one of the schemes wants it."""

URL = "http://127.0.0.1:8080/ingest/inbound/new"

BEFORE = f"""# The gate of the tests.
[server]
bind = "127.0.0.1:8080"  # behind nginx

{source("old", note="x").replace('note = "x"', "# a note")}# the end"""

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "tidegate.toml"
    path.write_text(BEFORE)
    monkeypatch.setenv("TIDEGATE_CONFIG", str(path))
    monkeypatch.setenv("GIVEN", GIVEN)
    return path


def printed(capsys: Capture, *arguments: str) -> dict[str, Any]:
    """What a change printed for programs."""
    assert main(["source", *arguments]) == 0, capsys.readouterr()
    found: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    return found


def refused(capsys: Capture, config: Path, code: int, *arguments: str) -> str:
    """What a refusal said; it changed nothing, and left no file with a secret."""
    before, files = config.read_bytes(), sorted(config.parent.rglob("*-1"))
    assert main(["source", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert config.read_bytes() == before
    assert sorted(config.parent.rglob("*-1")) == files
    return err


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], str] = lambda _: GIVEN) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    for stream in (sys.stdin, sys.stdout):
        monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(getpass, "getpass", answer)


@pytest.mark.parametrize("kind", ["segment", "webhook"])
def test_a_token_is_kept_as_its_hash(kind: str, config: Path, capsys: Capture) -> None:
    """The token is printed, strong, and nowhere in the file; what was in the file is there as it was."""
    value = printed(capsys, "add", "new", "--type", kind)
    assert len(value["token"]) == 43
    text = config.read_text()
    assert text.startswith(BEFORE)
    assert value["token"] not in text
    found = load(config).sources["new"]
    assert found.token_digests == (hashlib.sha256(value["token"].encode()).digest(),)
    assert (found.type, value["url"]) == (kind, URL)
    assert not (config.parent / "secrets").exists()


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_provider_gets_what_it_needs(name: str, config: Path, capsys: Capture) -> None:
    """Its scheme, and a secret in a file that nobody else can read: the vendor's, or one that is made and printed."""
    provider = PROVIDERS[name]
    given = ["--secret-from", "env:GIVEN"] if provider.secret else []
    value = printed(capsys, "add", "new", "--provider", name, *given)
    secret = GIVEN if provider.secret else value["secret"]
    found = load(config).sources["new"]
    assert (found.type, found.signature) == ("webhook", name)
    assert found.signing_secrets == (secret.encode(),)
    assert bool(found.token_digests) == ("token" in value) == (name == "convertmax")
    assert found.verify_token.decode() == value.get("verify_token", "")
    assert found.missing_event_id == ("hash" if name in ("meta", "zoom", "x") else "generate")
    assert GIVEN not in orjson.dumps(value).decode()
    for each in [secret, *filter(None, [value.get("verify_token")])]:
        assert len(each) > 20
        assert each not in config.read_text()
    modes = {stat.S_IMODE(Path(each).stat().st_mode) for each in value["secret_files"]}
    assert modes == {0o600}
    assert stat.S_IMODE((config.parent / "secrets").stat().st_mode) == 0o700


def test_every_scheme_has_its_provider() -> None:
    """There is one provider for each scheme, and what it is told fits what its senders can do."""
    assert PROVIDERS.keys() == SCHEMES.keys()
    assert [name for name, each in PROVIDERS.items() if each.takes_token and not SCHEMES[name].can_send_token] == []
    assert [name for name, each in PROVIDERS.items() if bool(each.secret) == ("{secret}" in str(each.fields))] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody but root gives files away")
@pytest.mark.parametrize("place", ["data", "."])
def test_root_gives_secrets_to_the_service(place: str, config: Path, capsys: Capture) -> None:
    """What root makes belongs to the owner of the store, as whom the server runs, or of where that will be made."""
    (config.parent / place).mkdir(exist_ok=True)
    os.chown(config.parent / place, 12345, 54321)
    value = printed(capsys, "add", "new", "--type", "webhook", "--provider", "github")
    for path in (config.parent / "secrets", Path(value["secret_files"][0])):
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_a_file_with_a_secret_is_copied(config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path is relative to the working directory; one line end at its end is cut, and one more is part of it."""
    (config.parent / "elsewhere").mkdir()
    monkeypatch.chdir(config.parent / "elsewhere")
    Path("given").write_text(f"{GIVEN}\n\n")
    printed(capsys, "add", "new", "--type", "webhook", "--provider", "stripe", "--secret-from", "file:given")
    assert load(config).sources["new"].signing_secrets == (f"{GIVEN}\n".encode(),)


def test_a_terminal_is_asked_for_secrets(config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --secret-from the secret is asked for, without echo, after the address that its vendor has to know."""
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return f" {GIVEN}\t"

    on_a_terminal(monkeypatch, answer)
    arguments = ["add", "new", "--type", "webhook", "--provider", "stripe", "--url", "https://hooks.example.com/"]
    assert main(["source", *arguments]) == 0
    out, err = capsys.readouterr()
    assert asked == ["Signing secret (not shown): "]
    assert "Endpoint URL  https://hooks.example.com/ingest/inbound/new\n" in out
    assert "https://hooks.example.com/ingest/inbound/new" in err.splitlines()[0]
    assert "say --url" not in err
    assert GIVEN not in out + err
    assert load(config).sources["new"].signing_secrets == (GIVEN.encode(),)


def test_nothing_typed_is_no_secret(config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but blanks, and the end of the input, end the command."""

    def end(_: str) -> str:
        raise EOFError

    for answer in (end, lambda _: "  "):
        on_a_terminal(monkeypatch, answer)
        err = refused(capsys, config, 2, "add", "new", "--type", "webhook", "--provider", "zoom")
        assert err.endswith("no secret token was entered\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "segment",
            (
                "Write key   made-just-now\n",
                'analytics.write_key = "made-just-now"\n',
                'host: "http://127.0.0.1:8080" }',
            ),
        ),
        ("webhook", (f"URL     {URL}\n", "Header  Authorization: Bearer made-just-now\n")),
        ("webhook --provider github", (f"Payload URL   {URL}\n", "Content type  application/json\n", "Secret        ")),
        ("webhook --provider meta", (f"Callback URL  {URL}\n", "Verify token  ")),
    ],
)
def test_people_are_told_what_to_enter(
    arguments: str, words: tuple[str, ...], config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal stdout has the sender's own words, with what was made in them, and stderr how to reload."""
    monkeypatch.setattr("server.cli.credentials.new_credential", lambda: "made-just-now")
    monkeypatch.setattr("server.cli.source_changes.new_credential", lambda: "made-just-now")
    on_a_terminal(monkeypatch)
    assert main(["source", "add", "new", "--type", *arguments.split()]) == 0
    out, err = capsys.readouterr()
    for each in words:
        assert each in out
    assert "made-just-now" in out
    assert "made-just-now" not in err
    assert "systemctl reload tidegate" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("add old --type segment", "has a source 'old' already"),
        ("add no.dots --type segment", "'no.dots': a source id has 1 to 64"),
        ("add new --type segment --provider github", "--provider: is for --type webhook only"),
        ("add new --type webhook --secret-from env:GIVEN", "--secret-from: is for sources with a --provider"),
        ("add new --type webhook --provider stripe", "the signing secret is asked for on a terminal"),
        ("add new --type webhook --provider stripe --secret-from env:NONE", "variable 'NONE' is not set"),
        ("add new --type webhook --provider stripe --secret-from file:none", "'none' cannot be read: No such file"),
        ("add new --type webhook --provider stripe --secret-from sk_live_1", "--secret-from: must be env:NAME or"),
        ("add new --type webhook --processor nowhere:f", "sources.new.processor: cannot load processor"),
        ("add new --type webhook --processor nowhere", "sources.new.processor: must be"),
        ("add new --type webhook --url hooks.example.com", "--url: must be such as https://"),
        ("rotate new", "there is no source 'new'"),
        ("rotate old --secret", "source 'old' has no signing_secrets"),
        ("rotate old --secret-from env:GIVEN", "--secret-from: a token is made anew"),
        ("retire new", "there is no source 'new'"),
        ("retire odl", "did you mean old?"),
    ],
)
def test_what_makes_no_sense_changes_nothing(arguments: str, words: str, config: Path, capsys: Capture) -> None:
    """Exit code 2 and what is wrong; the file stays as it was, and a secret that was said is not said again."""
    err = refused(capsys, config, 2, *arguments.split())
    assert words in err
    assert "sk_live_1" not in err


def test_a_secret_that_cannot_be_one(config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server would refuse is refused before the file is touched, without the secret in it."""
    monkeypatch.setenv("GIVEN", "not+base64*")
    arguments = "add new --type webhook --provider standard-webhooks --secret-from env:GIVEN"
    err = refused(capsys, config, 2, *arguments.split())
    assert "sources.new.signing_secrets: entry 1: is not base64" in err
    assert "not+base64*" not in err


@pytest.mark.parametrize("text", ["[server", "[server]\nbind = 7\n", "sources = 1\n", "\xff", "tokens = []\n"])
def test_a_file_with_mistakes_is_not_touched(text: str, config: Path, capsys: Capture) -> None:
    """What the server could not load is named; nothing is added to it."""
    config.write_bytes(text.encode("latin-1"))
    refused(capsys, config, 2, "add", "new", "--type", "segment")


@pytest.mark.parametrize("text", ["", "# [sources.new]\n", "[server]\r\n", "\ufeff# mark\n", "[sources]\n"])
def test_a_first_source_can_be_added(text: str, config: Path, capsys: Capture) -> None:
    """A file without sources gets one: empty, commented out, with CRLF or a byte order mark."""
    config.write_bytes(text.encode())
    printed(capsys, "add", "new", "--type", "segment")
    assert config.read_bytes().startswith(text.encode())
    assert [*load(config).sources] == ["new"]


def test_variables_of_the_service_are_assumed(config: Path, capsys: Capture) -> None:
    """A variable that is not set for the operator may be set for the server: it is named, and in nobody's way."""
    config.write_text(source("old", tokens=["env:OF_THE_SERVICE"]))
    assert main(["source", "add", "new", "--type", "segment"]) == 0
    assert "not set here, and taken as set for the server: OF_THE_SERVICE\n" in capsys.readouterr().err
    assert "OF_THE_SERVICE" in config.read_text()


@pytest.mark.parametrize("what", ["mkstemp", "access", "secrets"])
def test_what_cannot_be_written_is_named(
    what: str, config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory or a file that this user cannot write to: exit code 1, the path, and nothing is left behind."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    if what == "mkstemp":
        monkeypatch.setattr(tempfile, "mkstemp", fail)
    elif what == "access":
        monkeypatch.setattr(os, "access", lambda *_, **__: False)
    else:
        (config.parent / "secrets").write_text("a file where the directory should be")
    err = refused(capsys, config, 1, "add", "new", "--type", "webhook", "--provider", "github")
    assert f"{config.parent / ('secrets' if what == 'secrets' else 'tidegate.toml')}: cannot be written" in err


def test_what_an_editor_saved_meanwhile(config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that was saved while the command ran is left as its editor made it."""

    def judged_slowly(*_: object) -> tuple[dict[str, object], list[str]]:
        config.write_text(BEFORE + "\n# and more\n")
        return {}, []

    monkeypatch.setattr("server.cli.source_changes.processors", judged_slowly)
    assert main(["source", "add", "new", "--type", "webhook", "--provider", "github"]) == 1
    assert "was changed by somebody else meanwhile" in capsys.readouterr().err
    assert config.read_text() == BEFORE + "\n# and more\n"
    assert [*(config.parent / "secrets").iterdir()] == []


def test_what_the_file_refers_to_stays(config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk fails when the new file has its name already, the secret that it refers to is there as well."""

    def fail(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("server.config.replace.flush_directory", fail)
    assert main(["source", "add", "new", "--type", "webhook", "--provider", "github"]) == 1
    assert "Input/output error" in capsys.readouterr().err
    assert load(config).sources["new"].signing_secrets


def test_what_is_probably_not_meant(config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `check` would warn of is said at once, of the source in question alone."""
    monkeypatch.setenv("GIVEN", f" {GIVEN}")
    assert (
        main(["source", "add", "new", "--type", "webhook", "--provider", "stripe", "--secret-from", "env:GIVEN"]) == 0
    )
    [line] = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert line.startswith("tidegate: warning: sources.new.signing_secrets: entry 1: begins or ends with white space")
    assert load(config).sources["new"].signing_secrets == (f" {GIVEN}".encode(),)


def test_of_many_at_once_none_is_lost(config: Path) -> None:
    """Sources that are added at the same time are all there afterwards."""
    names = [f"new-{number}" for number in range(8)]
    codes: list[int] = []

    def add(name: str) -> None:
        codes.append(main(["source", "add", name, "--type", "webhook", "--provider", "github"]))

    threads = [threading.Thread(target=add, args=[name]) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * len(names)
    found = load(config)
    assert {*found.sources} == {"old", *names}
    assert len({each.signing_secrets for each in found.sources.values()}) == 1 + len(names)


def rotated(config: Path, capsys: Capture, *arguments: str) -> tuple[dict[str, Any], Config]:
    return printed(capsys, "rotate", *arguments), load(config)


def test_a_new_token_comes_before_the_old(config: Path, capsys: Capture) -> None:
    """Both are accepted after a rotation, the new one first; only that one after `retire`, and never none."""
    old = load(config).sources["old"].token_digests
    value, found = rotated(config, capsys, "old")
    new = hashlib.sha256(value["token"].encode()).digest()
    assert found.sources["old"].token_digests == (new, *old)
    assert printed(capsys, "retire", "old") == {"source": "old", "key": "tokens", "removed": 1}
    assert load(config).sources["old"].token_digests == (new,)
    assert config.read_text().startswith(BEFORE.partition("tokens")[0])
    assert config.read_text().endswith(BEFORE.rpartition("]\n")[2])
    err = refused(capsys, config, 1, "retire", "old")
    assert "has one entry, which stays" in err


def test_secrets_are_rotated_in_files(config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new secret gets a file of its own; the file that is not needed any more is named and stays."""
    printed(capsys, *["add", "new", "--type", "webhook", "--provider", "stripe", "--secret-from", "env:GIVEN"])
    err = refused(capsys, config, 2, *["rotate", "new", "--secret-from", "env:GIVEN"])
    assert "has this secret already" in err
    monkeypatch.setenv("GIVEN", "another")
    value, found = rotated(config, capsys, *["new", "--secret-from", "env:GIVEN"])
    assert value["secret_files"] == [str(config.parent / "secrets" / "new-signing-2")]
    assert found.sources["new"].signing_secrets == (b"another", GIVEN.encode())
    assert main(["source", "retire", "new"]) == 0
    assert "secrets/new-signing-1 is not needed for it any more" in capsys.readouterr().err
    assert load(config).sources["new"].signing_secrets == (b"another",)
    assert (config.parent / "secrets" / "new-signing-1").exists()


def test_which_one_has_to_be_said(config: Path, capsys: Capture) -> None:
    """Of a source with tokens and secrets nothing is rotated or taken out unless it is said which."""
    printed(capsys, *["add", "new", "--type", "webhook", "--provider", "convertmax"])
    for action in ("rotate", "retire"):
        assert "say --token or --secret" in refused(capsys, config, 2, action, "new")
    before = load(config).sources["new"]
    value, found = rotated(config, capsys, "new", "--secret")
    assert found.sources["new"].signing_secrets == (value["secret"].encode(), *before.signing_secrets)
    assert found.sources["new"].token_digests == before.token_digests
    assert len(rotated(config, capsys, "new", "--token")[1].sources["new"].token_digests) == 2


@pytest.mark.parametrize("signature", PROVIDERS)
def test_a_rotated_token_is_always_shown(
    signature: str, config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its provider is usually told no token, people see the new one; nobody could see it later."""
    more = {"verify_token": "x"} if signature == "meta" else {}
    config.write_text(source("both", signing_secrets=[GIVEN], signature=signature, **more))
    on_a_terminal(monkeypatch)
    assert main(["source", "rotate", "both", "--token"]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if "Authorization: Bearer " in line]
    digest = hashlib.sha256(line.rpartition(" ")[2].encode()).digest()
    assert load(config).sources["both"].token_digests[0] == digest


def test_a_list_for_programs_and_people(config: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON lines in a pipe, a table on a terminal, and a secret in neither."""
    config.write_text(
        source("a", rate_limit_events_per_second=2.5, paused=True)
        + source("b", tokens=[], signing_secrets=["s3cret-s3cret"], signature="github", processor="m:f")
    )
    assert main(["source", "list"]) == 0
    first, second = map(orjson.loads, capsys.readouterr().out.splitlines())
    assert first == {
        "source": "a",
        "type": "webhook",
        "signature": None,
        "tokens": 1,
        "signing_secrets": 0,
        "processor": None,
        "rate_limit_events_per_second": 2.5,
        "over_limit": "defer",
        "paused": True,
    }
    assert (second["signature"], second["tokens"], second["signing_secrets"]) == ("github", 0, 1)
    on_a_terminal(monkeypatch)
    assert main(["source", "list"]) == 0
    out = capsys.readouterr().out
    assert [" ".join(line.split()) for line in out.splitlines()] == [
        "ID TYPE SENDERS SHOW TOKENS SECRETS PROCESSOR LIMIT",
        "a webhook token 1 0 none 2.5/s, defer paused",
        "b webhook github signature 0 1 m:f none",
    ]
    assert "s3cret" not in out


def test_other_commands_import_no_editor() -> None:
    """The library that edits is imported where it is used, and costs no other command anything."""
    program = (
        "import sys, server.cli.main as cli; cli.main(['check', '--config', 'x']); print('tomlkit' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "False\n"


def test_an_empty_list_says_so(config: Path, capsys: Capture) -> None:
    """Of a configuration without sources nothing is on stdout, and people are told how to make one."""
    config.write_text("")
    assert main(["source", "list"]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "there are no sources; `tidegate source add` makes one" in err
