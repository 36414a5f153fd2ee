"""server/config/load.py: every mistake named with its key, at once, and no secret ever in words."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.base.source import Source
from server.config.load import Config, ConfigError, load, restart_needed, sending_token
from server.config.secrets import InvalidValue
from server.config.settings import SECTIONS
from server.config.source_settings import SOURCE_SETTINGS
from server.config.values import NO_CONTEXT, Address, Setting, settings_of
from server.intake.schemes import SCHEMES

SOURCE = '[sources.demo]\ntype = "webhook"\ntokens = ["s3cr3t-token"]\n'
Load = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> Load:
    """Loads a text as a configuration file in a directory of its own."""

    def read(text: str | bytes, **environ: str) -> Config:
        path = tmp_path / "tidegate.toml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load(path, environ)

    return read


def mistakes(read: Load, text: str | bytes, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        read(text, **environ)
    assert str(error.value) == "\n".join(error.value.mistakes)
    assert all("\n" not in mistake for mistake in error.value.mistakes)
    return error.value.mistakes


def only(read: Load, text: str | bytes, **environ: str) -> str:
    (mistake,) = mistakes(read, text, **environ)
    return mistake


def digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def test_an_empty_file_is_a_server_without_sources(read: Load, tmp_path: Path) -> None:
    """Everything has a default but sources, and there may be none."""
    config = read("")
    assert config.sources == {}
    assert config.server.bind == Address("127.0.0.1", 8080)
    assert config.storage.path == tmp_path / "data"


def test_values_of_the_file_are_taken(read: Load) -> None:
    """What the file says replaces the default, in each section."""
    config = read(
        '[server]\nbind = "[::1]:9000"\ntrusted_proxies = ["10.0.0.0/8", "::1"]\n[limits]\nconnections_max = 7\n'
        "header_timeout_seconds = 0.5\n[queue]\nevents_max = 1\nbacklog_events_max = 5\n[dedup]\nwindow_hours = 1.5\n"
        + SOURCE
        + 'rate_limit_events_per_second = 0.25\nover_limit = "drop"\nprocessor = "package.module:function"\n'
    )
    assert str(config.server.bind) == "[::1]:9000"
    assert [str(each) for each in config.server.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert (config.limits.connections_max, config.limits.header_timeout_seconds) == (7, 0.5)
    assert (config.queue.events_max, config.queue.backlog_events_max, config.dedup.window_hours) == (1, 5, 1.5)
    demo = config.sources["demo"]
    assert (demo.rate_limit_events_per_second, demo.over_limit, demo.processor) == (
        0.25,
        "drop",
        "package.module:function",
    )
    assert demo.token_digests == (digest(b"s3cr3t-token"),)


def test_all_mistakes_come_at_once(read: Load) -> None:
    """One run names every mistake, whatever section it is in."""
    found = mistakes(
        read,
        '[server]\nbind = 1\n[limits]\nbody_bytes_max = 0\nbody_byte_max = 1\n[queue]\nevents_max = "9"\n'
        '[sources.a]\ntype = "webhook"\n[sources."b c"]\ntype = "x"\ntokens = ["t"]\n[what]\n',
    )
    assert {each.partition(": ")[0] for each in found} == {
        "server.bind",
        "limits.body_bytes_max",
        "limits.body_byte_max",
        "queue.events_max",
        "sources.a.tokens",
        'sources."b c"',
        'sources."b c".type',
        "what",
    }
    assert "limits.body_byte_max: unknown key; did you mean body_bytes_max?" in found


@pytest.mark.parametrize(
    ("section", "line"),
    [
        ("limits", "body_bytes_max = true"),
        ("limits", "body_bytes_max = 1.0"),
        ("limits", "body_bytes_max = -1"),
        ("limits", f"body_bytes_max = 0x{'f' * 6000}"),
        ("limits", f"header_timeout_seconds = 0x{'f' * 6000}"),
        ("limits", "header_timeout_seconds = 0"),
        ("limits", "header_timeout_seconds = false"),
        ("limits", "header_timeout_seconds = nan"),
        ("limits", "header_timeout_seconds = inf"),
        ("limits", "header_timeout_seconds = 2020-01-01"),
        ("limits", "connections_max = [1]"),
        ("dedup", "window_hours = 0"),
        ("dedup", "window_hours = -inf"),
        ("storage", "map_size_bytes = 1000"),
        ("storage", 'path = ""'),
        ("storage", 'path = "a\\u0000b"'),
        ("storage", "path = 1"),
        ("storage", "free_bytes_min = -1"),
        ("storage", "free_bytes_min = 0.5"),
        ("retention", "archive_hours = -1"),
        ("retention", "archive_hours = nan"),
        ("retention", "receipt_hours = inf"),
        ("retention", 'dead_hours = "7 days"'),
        ("retention", "archive_bytes_max = 1e9"),
        ("server", 'bind = "8080"'),
        ("server", 'bind = ":8080"'),
        ("server", 'bind = "::1:8080"'),
        ("server", 'bind = "127.0.0.1:65536"'),
        ("server", 'bind = "example.com:80"'),
        ("server", 'bind = "127.0.0.1:٣"'),
        ("server", "trusted_proxies = 1"),
        ("server", 'trusted_proxies = ["10.0.0.1/8"]'),
        ("server", "trusted_proxies = [1]"),
        ("sources.demo", 'processor = "module"'),
        ("sources.demo", 'processor = "module:"'),
        ("sources.demo", 'processor = "a-b:c"'),
        ("sources.demo", 'processor = ".a:c"'),
        ("sources.demo", 'missing_event_id = "guess"'),
        ("sources.demo", "over_limit = []"),
        ("sources.demo", f'event_type_override = "{"ä" * 129}"'),
        ("sources.demo", "rate_limit_events_per_second = -1"),
        ("sources.demo", "rate_limit_events_per_second = nan"),
        ("sources.demo", "rate_limit_events_per_second = 1e-300"),
        ("sources.demo", "rate_limit_events_per_second = 9e-7"),
        ("sources.demo", "rate_limit_burst_events = 0.5"),
        ("sources.demo", "processor_attempts_max = 0"),
        ("sources.demo", 'processor_outages = "redis.RedisError"'),
        ("sources.demo", 'processor_outages = ["RedisError"]'),
        ("sources.demo", 'processor_outages = ["redis.RedisError", "redis:RedisError"]'),
        ("sources.demo", 'processor_outages = ["redis..RedisError"]'),
        ("sources.demo", "processor_outages = [7]"),
    ],
)
def test_an_impossible_value_is_named_by_its_key(read: Load, section: str, line: str) -> None:
    """A value of the wrong type or beyond its limits is one short mistake that begins with the dotted key."""
    text = SOURCE + line if section == "sources.demo" else f"[{section}]\n{line}\n"
    mistake = only(read, text)
    assert mistake.startswith(f"{section}.{line.partition(' ')[0]}: ")
    assert "must be" in mistake
    assert len(mistake) < 300


@pytest.mark.parametrize(
    "setting",
    [*SOURCE_SETTINGS.values(), *(each for section in SECTIONS.values() for each in settings_of(section).values())],
)
def test_every_setting_says_what_it_takes(setting: Setting) -> None:
    """A value that no setting takes gets words that say what this one takes."""
    with pytest.raises(InvalidValue, match=r"^must be "):
        setting.kind.read({}, NO_CONTEXT)


def test_limits_hold_at_both_ends(read: Load) -> None:
    """The smallest values that can work are accepted: what is odd is not impossible."""
    config = read(
        "[limits]\nbody_bytes_max = 1\ndecoded_bytes_max = 1\njson_containers_max = 1\nbatch_events_max = 1\n"
        "in_flight_bytes_max = 1\nconnections_max = 1\ndrain_timeout_seconds = 0\n"
        "[queue]\nevents_max = 1\nbytes_max = 1\nbacklog_events_max = 0\n[storage]\nmap_size_bytes = 1048576\n"
    )
    assert config.limits.in_flight_bytes_max == config.limits.body_bytes_max == 1


@pytest.mark.parametrize("text", ["server = 1", "[[server]]", "sources = 1", "sources.demo = 1", "[[sources.demo]]"])
def test_what_should_be_a_table_is_told_so(read: Load, text: str) -> None:
    """A section or a source that is no table is named."""
    assert any("must be a table" in mistake for mistake in mistakes(read, text))


@pytest.mark.parametrize(
    ("name", "good"),
    [("a", True), ("A-z_0", True), ("x" * 64, True), ("x" * 65, False), ("", False), ("ä", False), ("a\\n", False)],
)
def test_a_source_id_has_few_characters(read: Load, name: str, good: bool) -> None:
    """A source id is 1 to 64 of A-Z a-z 0-9 _ -."""
    text = SOURCE.replace("demo", f'"{name}"')
    if good:
        assert list(read(text).sources) == [name]
    else:
        assert "a source id has" in only(read, text)


def test_files_that_are_no_configuration(read: Load, tmp_path: Path) -> None:
    """A missing file, a directory, another encoding, no TOML, and something endless: each is one clear mistake."""
    for path, words in [
        (tmp_path / "none.toml", "No such file"),
        (tmp_path, "directory"),
        (Path("/dev/zero"), "larger than"),
    ]:
        with pytest.raises(ConfigError) as error:
            load(path, {})
        assert words in str(error.value)
    assert "is not UTF-8" in only(read, b'[server]\nbind = "\xff"')
    assert "is not UTF-8" in only(read, "[server]".encode("utf-16"))
    assert "is not TOML" in only(read, "bind = ")
    assert "is not TOML" in only(read, "[limits]\nbody_bytes_max = " + "9" * 5000)
    assert "nested" in only(read, "a = " + "[" * 20000)


VALUES = [
    '""',
    '"x"',
    "0",
    "-1",
    "1",
    "1.5",
    "nan",
    "-inf",
    "true",
    "[]",
    '[""]',
    "[1]",
    "[[]]",
    "{}",
    "1979-05-27",
    "07:32:00",
]


def mistakes_in(content: bytes) -> list[str]:
    """The mistakes of a file with this content; none where it is a configuration."""
    read_end, write_end = os.pipe()
    os.write(write_end, content)
    os.close(write_end)
    try:
        load(Path(f"/dev/fd/{read_end}"), {})
    except ConfigError as error:
        return error.mistakes
    finally:
        os.close(read_end)
    return []


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_give_a_configuration_or_mistakes(content: bytes) -> None:
    """No content of a file makes anything but a Config or a ConfigError with lines in it."""
    assert all(mistake and "\n" not in mistake for mistake in mistakes_in(content))


@pytest.mark.parametrize("value", VALUES)
def test_any_value_is_taken_or_named(value: str) -> None:
    """Whatever stands behind a key, it is read or it is that key's mistake."""
    for section, kind in SECTIONS.items():
        for key in settings_of(kind):
            found = mistakes_in(f"[{section}]\n{key} = {value}\n".encode())
            assert all(each.startswith((f"{section}.{key}: ", "limits.in_flight_bytes_max: ")) for each in found)


def test_a_secret_may_come_from_anywhere(read: Load, tmp_path: Path) -> None:
    """A token may be a literal, a variable, a file beside the configuration or a hash; one line end is cut."""
    (tmp_path / "token").write_bytes(b"from-file\r\n")
    config = read(
        '[sources.demo]\ntype = "webhook"\ntokens = ["literal", "env:TOKEN", "file:token", "sha256:'
        + digest(b"hashed").hex().upper()
        + '"]\nsigning_secrets = ["file:token", "env:TOKEN", "two words"]\n',
        TOKEN="from-env\n",
    )
    demo = config.sources["demo"]
    assert demo.token_digests == tuple(map(digest, (b"literal", b"from-env", b"from-file", b"hashed")))
    assert demo.signing_secrets == (b"from-file", b"from-env", b"two words")


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ('[""]', "entry 1: is empty"),
        ("[]", "may not be empty"),
        ('"literal"', "must be a list"),
        ('["good", 5]', "entry 2: must be a string"),
        ('["env:UNSET"]', "'UNSET' is not set"),
        ('["env:EMPTY"]', "'EMPTY' is empty"),
        ('["env:"]', "'' is not set"),
        ('["file:none"]', "No such file"),
        ('["file:"]', "directory"),
        ('["file:a\\u0000b"]', "not a possible file name"),
        ('["file:empty"]', "is empty"),
        ('["file:large"]', "longer than 4096"),
        ('["file:/dev/null"]', "not a regular file"),
        ('["file:/dev/zero"]', "not a regular file"),
        ('["file:fifo"]', "not a regular file"),
        ('["sha256:abc"]', "64 hex digits"),
        ('["two words"]', "no client could send it"),
        ('["line\\nbreak"]', "no client could send it"),
        ('["env:TWO_LINES"]', "no client could send it"),
        ('["env:LINE_END"]', "is empty"),
        ('["\ufefftoken"]', "byte order mark"),
        ('["env:MARKED"]', "byte order mark"),
        ('["file:marked"]', "byte order mark"),
    ],
)
def test_an_unavailable_secret_is_a_mistake(read: Load, tmp_path: Path, tokens: str, words: str) -> None:
    """An empty, unset, unreadable or unusable secret is a mistake of its list; a FIFO is not waited for."""
    (tmp_path / "empty").touch()
    (tmp_path / "large").write_bytes(bytes(4100))
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "marked").write_bytes(b"\xef\xbb\xbftoken\n")
    environ = {"EMPTY": "", "LINE_END": "\n", "TWO_LINES": "t\n\n", "MARKED": "\ufefftoken"}
    mistake = only(read, f'[sources.demo]\ntype = "webhook"\ntokens = {tokens}\n', **environ)
    assert mistake.startswith("sources.demo.tokens: ")
    assert words in mistake


def test_a_byte_order_mark_in_the_file(read: Load) -> None:
    """One at the beginning of the file is skipped; a file in UTF-16 is named as such."""
    assert list(read(b"\xef\xbb\xbf" + SOURCE.encode()).sources) == ["demo"]
    for encoding in ("utf-16", "utf-16-be"):
        text = SOURCE if encoding == "utf-16" else f"\ufeff{SOURCE}"
        assert "is not UTF-8 but UTF-16: save it as UTF-8" in only(read, text.encode(encoding))


def test_hashes_are_for_tokens_only(read: Load) -> None:
    """A signature cannot be made with a hash, so a hash as a signing secret or as the admin token is an error."""
    text = '[server]\nadmin_token = "sha256:00"\n' + SOURCE + 'signing_secrets = ["sha256:00"]\n'
    assert [each.partition(":")[0] for each in mistakes(read, text)] == [
        "server.admin_token",
        "sources.demo.signing_secrets",
    ]


def test_signing_secrets_are_for_webhooks(read: Load) -> None:
    """A segment source with signing secrets is an error: nothing would check them."""
    text = SOURCE.replace("webhook", "segment") + 'signing_secrets = ["s"]\n'
    assert only(read, text).startswith("sources.demo.signing_secrets: ")


SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "text",
    [
        f'[server]\nadmin_token = "{SECRET}"\nbind = 1\n' + SOURCE,
        f'[server]\nadmin_token = ["{SECRET}"]\n',
        f'[server]\nadmin_token = "{SECRET} "\n',
        f'[sources.a]\ntype = "webhook"\ntokens = "{SECRET}"\n',
        f'[sources.a]\ntype = "webhook"\ntokens = ["{SECRET} {SECRET}", {{ x = "{SECRET}" }}]\n',
        f'[sources.a]\ntype = "webhook"\ntoken = "{SECRET}"\n',
        f'[sources.a]\ntype = "segment"\ntokens = ["t"]\nsigning_secrets = ["{SECRET}"]\n',
        f'[sources.a]\ntype = "webhook"\ntokens = ["sha256:{SECRET}"]\n',
        f'[sources.a]\ntype = "webhook"\ntokens = ["{SECRET}]\n',
        f'[sources.a]\ntype = "webhook"\ntokens = ["{SECRET}" "{SECRET}"]\n',
        f'[sources.a]\ntype = "webhook"\ntokens = ["{SECRET}"]\ntokens = ["{SECRET}"]\n',
    ],
)
def test_no_mistake_tells_a_secret(read: Load, text: str) -> None:
    """Whatever is wrong around a secret, its letters are in no message."""
    assert SECRET not in "\n".join(mistakes(read, text))


def test_no_object_tells_a_secret(read: Load) -> None:
    """Neither repr nor str of a configuration or any part of it holds a secret."""
    config = read(
        f'[server]\nadmin_token = "{SECRET}"\n[sources.a]\ntype = "webhook"\ntokens = ["{SECRET}"]\n'
        f'signing_secrets = ["{SECRET}"]\n'
    )
    for each in (config, config.server, config.sources, config.sources["a"]):
        assert SECRET not in repr(each) + str(each) + f"{each}"
        assert digest(SECRET.encode()).hex() not in repr(each)
    assert config.server.admin_token == SECRET.encode()


def test_a_reachable_admin_side_needs_a_token(read: Load) -> None:
    """An admin side beyond loopback needs a token, and one that not everybody knows."""
    text = '[server]\nadmin_bind = "0.0.0.0:9001"\n'
    assert only(read, text).startswith("server.admin_token: is required")
    assert only(read, text + 'admin_token = "for-trying-only"\n').startswith("server.admin_token: ")
    assert read(text + 'admin_token = "a-good-one"\n').server.admin_token == b"a-good-one"


@pytest.mark.parametrize(
    ("token", "environ"),
    [
        ("for-trying-only", {}),
        ("env:TOKEN", {"TOKEN": "for-trying-only"}),
        ("sha256:" + digest(b"for-trying-only").hex(), {}),
    ],
)
def test_the_token_for_trying_is_refused_beyond_loopback(read: Load, token: str, environ: dict[str, str]) -> None:
    """The demo's token is an error on any bind but loopback, wherever it comes from."""
    text = SOURCE.replace("s3cr3t-token", token)
    assert only(read, '[server]\nbind = "0.0.0.0:8080"\n' + text, **environ).startswith("sources.demo.tokens: ")
    read('[server]\nbind = "127.8.0.1:8080"\n' + text, **environ)


def test_the_demo_token_is_told_beside_others(read: Load) -> None:
    """A source with a mistake in it is not let off: both are named."""
    text = SOURCE.replace("s3cr3t-token", "for-trying-only") + "colour = 1\n"
    found = mistakes(read, '[server]\nbind = "0.0.0.0:8080"\n' + text)
    assert [each.partition(": ")[0] for each in found] == ["sources.demo.colour", "sources.demo.tokens"]
    assert "everybody knows" in found[1]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("rate_limit", "rate_limit_events_per_second"),
        ("rate_limit_burst", "rate_limit_burst_events"),
        ("processor_timeout", "processor_timeout_seconds"),
        ("tokn", "tokens"),
        ("overlimit", "over_limit"),
    ],
)
def test_the_key_that_was_meant(read: Load, written: str, meant: str) -> None:
    """Of the keys that look like a mistyped one, the one that begins alike is proposed."""
    assert only(read, f"{SOURCE}{written} = 1\n") == f"sources.demo.{written}: unknown key; did you mean {meant}?"


@pytest.mark.parametrize(
    ("bind", "admin_bind", "good"),
    [
        ("127.0.0.1:9000", "127.0.0.1:9000", False),
        ("localhost:9000", "127.0.0.1:9000", False),
        ("[::1]:9000", "[0:0::1]:9000", False),
        ("0.0.0.0:9000", "127.0.0.1:9000", False),
        ("localhost:9000", "[::1]:9000", False),
        ("[::ffff:127.0.0.1]:9000", "127.0.0.1:9000", False),
        ("[::]:9000", "[::1]:9000", False),
        ("127.0.0.1:9000", "[::]:9000", False),
        ("[::]:9000", "0.0.0.0:9000", False),
        ("0.0.0.0:9000", "[::1]:9000", True),
        ("127.0.0.1:9000", "127.0.0.2:9000", True),
        ("127.0.0.1:9000", "[::1]:9000", True),
        ("127.0.0.1:0", "127.0.0.1:0", True),
    ],
)
def test_both_listeners_need_a_place_of_their_own(read: Load, bind: str, admin_bind: str, good: bool) -> None:
    """Two addresses that cannot be bound at once are an error; port 0 is any free port."""
    text = f'[server]\nbind = "{bind}"\nadmin_bind = "{admin_bind}"\n'
    if good:
        read(text)
    else:
        assert "same port" in mistakes(read, text)[0]


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [
        ("localhost", True),
        ("[::1]", True),
        ("[::ffff:127.0.0.9]", True),
        ("[::]", False),
        ("0.0.0.0", False),  # noqa: S104
        ("[::ffff:0.0.0.0]", False),
        ("[::ffff:192.0.2.1]", False),
    ],
)
def test_only_loopback_needs_no_admin_token(read: Load, host: str, is_loopback: bool) -> None:
    """However an address is written: what others can reach asks for server.admin_token."""
    text = f'[server]\nadmin_bind = "{host}:9000"\n'
    if is_loopback:
        assert read(text).server.admin_bind.is_loopback
    else:
        assert only(read, text).startswith("server.admin_token: is required")


def test_mapped_networks_are_those_of_ipv4(read: Load) -> None:
    """A trusted proxy written as IPv4-mapped IPv6 is the IPv4 one, as which peers are compared."""
    read_as = read('[server]\ntrusted_proxies = ["::ffff:10.0.0.0/104", "::ffff:192.0.2.1", "fd00::/8"]\n')
    assert [str(network) for network in read_as.server.trusted_proxies] == ["10.0.0.0/8", "192.0.2.1/32", "fd00::/8"]


def test_a_body_must_fit_into_flight(read: Load) -> None:
    """limits.in_flight_bytes_max below limits.body_bytes_max is an error: such a body could never be read."""
    assert only(read, "[limits]\nin_flight_bytes_max = 1048575\n").startswith("limits.in_flight_bytes_max: ")
    assert len(mistakes(read, '[limits]\nin_flight_bytes_max = 10\nbody_bytes_max = "10"\n')) == 1


def test_sources_and_secrets_need_no_restart(read: Load) -> None:
    """Only changed keys are named, and neither sources nor the admin token are among them."""
    old = read(SOURCE)
    new = read('[server]\nadmin_token = "new"\n[limits]\nconnections_max = 5\n[storage]\npath = "other"\n')
    assert restart_needed(old, old) == []
    assert restart_needed(old, new) == ["storage.path", "limits.connections_max"]


def test_retention_that_is_only_named_counts(read: Load) -> None:
    """Whether the section is in the file is known, since it lets an old store lose something; it needs a restart."""
    without, named = read(SOURCE), read("[retention]\n" + SOURCE)
    assert (without.retention_is_configured, named.retention_is_configured) == (False, True)
    assert without.retention == named.retention
    assert restart_needed(without, named) == ["retention"]


@pytest.mark.parametrize(
    ("bodies", "bodies_bytes", "receipts", "hours"),
    [
        (168, 0, 720, 720),
        (0.5, 0, 1.5, 97),
        (168, 0, 24, 168),
        (168, 0, 0, 0),
        (0, 0, 720, 0),
        (0, 10**9, 720, 720),
    ],
)
def test_receipts_outlast_bodies_and_ids(
    read: Load, bodies: float, bodies_bytes: int, receipts: float, hours: float
) -> None:
    """Receipts stay as long as they should, as the dedup window asks, and as the bodies do; 0 is for ever."""
    config = read(
        f"[retention]\narchive_hours = {bodies}\narchive_bytes_max = {bodies_bytes}\nreceipt_hours = {receipts}\n"
        "[dedup]\nwindow_hours = 96\n"
    )
    assert config.receipt_hours == hours


def test_a_client_here_can_have_a_token(read: Load) -> None:
    """A sending command finds the first token that is not a hash, or learns that there is none."""
    hashed = f'"sha256:{"0" * 64}"'
    config = read(SOURCE.replace('"s3cr3t-token"', f'{hashed}, "env:TOKEN"'), TOKEN="from-env")
    assert sending_token(config, "demo", {"TOKEN": "from-env"}) == b"from-env"
    assert sending_token(read(SOURCE.replace('"s3cr3t-token"', hashed)), "demo", {}) is None


def test_sources_cannot_be_changed_in_place(read: Load) -> None:
    """The mapping of sources is read-only, so that a reload puts another in its place."""
    with pytest.raises(TypeError):
        read(SOURCE).sources["x"] = None  # type: ignore[index]


def test_every_source_setting_is_a_field_of_source() -> None:
    """The table of source settings and the Source object name the same things."""
    names = {field.name for field in fields(Source)}
    assert names - {"id", "token_digests", "signing_keys"} == set(SOURCE_SETTINGS) - {"tokens"}


SIGNED = '[sources.demo]\ntype = "webhook"\ntokens = []\nsigning_secrets = ["c2VjcmV0"]\n'


def test_a_signature_may_stand_for_tokens(read: Load) -> None:
    """With signing secrets a source needs no token; without either everybody could send."""
    demo = read(SIGNED).sources["demo"]
    assert (demo.token_digests, demo.signing_keys, demo.signature) == ((), (b"c2VjcmV0",), "convertmax")
    assert (demo.event_id_from, demo.event_type_from) == ((), ())
    assert only(read, SIGNED.replace('"c2VjcmV0"', "")).startswith("sources.demo.tokens: may not be empty")


@pytest.mark.parametrize("name", SCHEMES)
def test_each_scheme_has_its_paths(read: Load, name: str) -> None:
    """A scheme brings keys, and paths to ids and types, each of which can be configured instead."""
    scheme = SCHEMES[name]
    text = f'{SIGNED}signature = "{name}"\n' + ('verify_token = "v"\n' if name == "meta" else "")
    demo = read(text).sources["demo"]
    keys = {"standard-webhooks": b"secret", "microsoft-graph": hashlib.sha256(b"c2VjcmV0").digest()}
    assert demo.signing_keys == (keys.get(name, b"c2VjcmV0"),)
    assert tuple(path.text for path in demo.event_id_from) == scheme.event_id_from
    assert tuple(path.text for path in demo.event_type_from) == scheme.event_type_from
    own = read(f'{text}event_id_from = ["body.a.b", "header.X-Id"]\n').sources["demo"]
    assert own.event_id_from == (("body.a.b", b"", ("a", "b")), ("header.x-id", b"x-id", ()))
    assert own.event_type_from == demo.event_type_from


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('signature = "svix"', "sources.demo.signature: must be"),
        ("signature_tolerance_seconds = 0", "sources.demo.signature_tolerance_seconds: must be"),
        ("signature_tolerance_seconds = 86401", "sources.demo.signature_tolerance_seconds: must be"),
        ('event_id_from = ["id"]', "sources.demo.event_id_from: entry 1: must be a place such as"),
        ('event_id_from = ["body."]', "sources.demo.event_id_from: entry 1: must be a place such as"),
        ('event_id_from = ["body.a..b"]', "sources.demo.event_id_from: entry 1: must be a place such as"),
        ('event_id_from = ["header.Content-Length"]', "the length of a request says nothing of its events"),
        ('event_id_from = ["header.x y"]', "sources.demo.event_id_from: entry 1: must be a place such as"),
        ('event_id_from = ["header.ü"]', "sources.demo.event_id_from: entry 1: must be a place such as"),
        ("event_id_from = [1]", "sources.demo.event_id_from: entry 1: must be a place such as"),
        ('event_id_from = ["header.Authorization"]', "may hold a secret or a signature"),
        ('event_type_from = ["header.cookie"]', "may hold a secret or a signature"),
        ('event_type_from = ["header.stripe-signature"]', "may hold a secret or a signature"),
        ('event_type_from = ["header.x-shopify-hmac-sha256"]', "may hold a secret or a signature"),
    ],
)
def test_settings_of_signatures_are_checked(read: Load, line: str, words: str) -> None:
    """A scheme, a tolerance or a path that there cannot be is named; a secret names no event."""
    assert words in only(read, f"{SIGNED}{line}\n")


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('signature = "meta"', 'is needed where signature is "meta"'),
        ('verify_token = "v"', 'is for signature = "meta" only'),
        ('signature = "meta"\nverify_token = "env:UNSET"', "'UNSET' is not set"),
    ],
)
def test_a_verify_token_is_metas(read: Load, lines: str, words: str) -> None:
    """Meta's scheme needs a verify token, and no other has one."""
    mistake = only(read, f"{SIGNED}{lines}\n")
    assert mistake.startswith("sources.demo.verify_token: ")
    assert words in mistake


def test_a_bad_signing_secret_is_placed(read: Load) -> None:
    """Standard Webhooks' secrets are base64; another is named by its place, and not shown."""
    text = SIGNED.replace('"c2VjcmV0"', '"c2VjcmV0", "no base64!"') + 'signature = "standard-webhooks"\n'
    assert only(read, text) == (
        "sources.demo.signing_secrets: entry 2: is not base64, with or without whsec_, as standard-webhooks has it"
    )


def test_signatures_are_for_webhooks_with_secrets(read: Load) -> None:
    """A scheme without a secret, or paths of a source of type segment, are mistakes."""
    assert only(read, SOURCE + 'signature = "github"\n') == "sources.demo.signature: needs signing_secrets"
    same = 'same_body = "duplicate"\n'
    words = "sources.demo.same_body: needs signing_secrets: equal bodies are duplicates only if signed"
    assert only(read, SOURCE + same) == words
    assert only(read, SOURCE.replace("webhook", "segment") + same) == words
    assert only(read, SIGNED + 'same_body = "drop"\n').startswith("sources.demo.same_body: must be")
    assert [read(SIGNED + line).sources["demo"].same_body for line in ("", same)] == ["allow", "duplicate"]
    text = SOURCE.replace("webhook", "segment") + 'event_id_from = ["body.id"]\n'
    assert only(read, text) == "sources.demo.event_id_from: is for sources of type webhook only"


def test_the_window_holds_the_tolerance_twice(read: Load) -> None:
    """A request is known for as long as its timestamp is believed, on either side; schemes without one need no such."""
    short = f"[dedup]\nwindow_hours = 0.1\n{SIGNED}"
    assert only(read, f'{short}signature = "stripe"\n').startswith("dedup.window_hours: must be at least twice")
    read(f'{short}signature = "stripe"\nsignature_tolerance_seconds = 180\n')
    read(f'{short}signature = "github"\n')
