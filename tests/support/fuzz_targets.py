"""What is fuzzed: for each target, bytes in, and nothing out but what its contract names; anything else raises.

A fuzzer that knows nothing of them can call them: they take any bytes, and are quick. The suite gives them a few
thousand, `python -m tests.torture fuzz` many, led by the coverage.
"""

import gzip
import tempfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import orjson
import zstandard

from server.base.refusal import STATUS, Refusal
from server.base.source import Source
from server.config.load import ConfigError, load
from server.http.chunked import ChunkDecoder, MalformedChunks
from server.http.fast.head_cache import HeadCache
from server.http.fast.ingest_head import IngestHead, OtherRequest, ingest_head
from server.http.fast.protocol import IngestProtocol
from server.http.head import RequestHead, complete_head
from server.intake.auth import digest_of
from server.intake.decode import decode
from server.intake.events import build_events
from server.intake.headers import scan
from server.intake.intake import DeliveryHead, IntakeLimits, read
from server.intake.item_secrets import proven
from server.intake.parse import Body, parse
from server.intake.read_many import read_many
from server.intake.schemes import SCHEMES
from server.intake.sdk_bodies import key_in, prepared
from storage.codec.log_record import COMPRESSION_LEVEL, decode_log, encode_log
from storage.codec.records import key_of, seal
from storage.codec.status_rows import decode_runs, decode_statuses
from storage.deliveries import Deliveries, NumberedDeliveries
from storage.errors import StoreDamaged
from storage.in_hand.records import Suspect, encode_head, encode_page, suspects_after
from storage.journal.records import Journaled, encode, read_journal
from storage.model import Append
from storage.statuses import EventStatus

NOW_MS = 1_782_907_200_123
DECODED_BYTES_MAX = 20_000
LIMITS = IntakeLimits(2**20, DECODED_BYTES_MAX, 2_000, 20)
BOOT, STORE, RUN = b"b" * 16, b"s" * 8, b"r" * 8
ENCODINGS = (None, b"gzip", b"deflate", b"zstd", b"gzip, gzip")
SOURCES = tuple(
    Source("s", kind, (), missing_event_id=missing)
    for kind in ("webhook", "segment")
    for missing in ("generate", "hash", "reject")
)

HEAD = b"POST /ingest/inbound/s HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer t\r\n"
EVENT = b'{"inbound_event_id":"e","type":"track","messageId":"m","payload":{"a":[1.5e3,"\\ud83d"]}}'
BATCH = b'{"batch":[%b,7],"context":{"a":1},"sentAt":"2026-01-01T00:00:00Z"}' % EVENT


@dataclass(frozen=True, slots=True)
class Target:
    """Something that takes bytes."""

    run: Callable[[bytes], object]
    """Raises whatever is a finding."""
    seeds: Sequence[bytes]
    """Inputs that are right, to begin with."""


def head(data: bytes) -> None:
    """A head is read alike alone, from the cache and by a template; nothing but a head, a refusal or None comes."""
    found = complete_head(data)
    if not isinstance(found, RequestHead):
        _check_refusal(found)
        return
    cache, made = HeadCache(()), ingest_head("192.0.2.1", found, ())
    for _ in range(20):  # it takes so many until a template is learned
        again = cache.read("192.0.2.1", found.raw)
        assert again == made or (isinstance(again, OtherRequest) and isinstance(made, OtherRequest))


def protocol(data: bytes) -> None:
    """The same requests are read from the bytes whichever pieces they come in."""
    whole, pieces = _requests([data]), _requests([data[at : at + 7] for at in range(0, len(data), 7)])
    assert whole[: len(pieces)] == pieces[: len(whole)] or "refused" in (whole[-1:] + pieces[-1:])


def _requests(pieces: Sequence[bytes]) -> list[object]:
    """Heads and bodies in turn, until something is refused or handed over."""
    reader, found = IngestProtocol(HeadCache(()), "192.0.2.1"), list[object]()
    is_in_body = False
    for piece in pieces:
        reader.receive(piece)
        while True:
            got = reader.next_body(lambda _: None) if is_in_body else reader.next_head()
            if got is None and is_in_body and reader.has_more:
                continue
            if got is None:
                break
            if not isinstance(got, bytes | IngestHead):
                return [*found, "refused"]
            found.append(got)
            is_in_body = not is_in_body
    return found


def chunks(data: bytes) -> None:
    """A chunked body is the same body, or none, whichever pieces it comes in; what follows it is left."""
    assert _dechunked([data]) == _dechunked([data[at : at + 1] for at in range(len(data))])


def _dechunked(pieces: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """The body and what follows it; None if it is malformed or does not end."""
    decoder, buffer, body = ChunkDecoder(), bytearray(), b""
    with suppress(MalformedChunks):
        for piece in pieces:
            buffer += piece
            body += b"" if decoder.done else decoder.decode(buffer)
            while decoder.has_more:
                body += decoder.decode(buffer)
        return (body, bytes(buffer)) if decoder.done else None
    return None


def encodings(data: bytes) -> None:
    """A compressed body is decoded within the limit, or refused."""
    for name in ENCODINGS:
        found = decode(data, name, DECODED_BYTES_MAX)
        if isinstance(found, Refusal):
            _check_refusal(found)
        else:
            assert len(found) <= DECODED_BYTES_MAX


def intake(data: bytes) -> None:
    """A body is admitted or refused; what is admitted is built into events, and stands in the log as it was."""
    for source in SOURCES:
        found = read(source, DeliveryHead("s", None, scan([]), None, "192.0.2.1"), data, NOW_MS, LIMITS)
        if isinstance(found, Refusal):
            _check_refusal(found)
            continue
        assert isinstance(found, Deliveries)
        numbered = NumberedDeliveries(1, "abcdef", found)
        orjson.dumps(build_events(numbered, range(found.count)))
        assert (
            decode_log(key_of(1), *_logged(numbered), zstandard.ZstdDecompressor()).event_ids() == numbered.event_ids()
        )


def sdk_bodies(data: bytes) -> None:
    """What is left of a body without its keys says what the parsed value says, and has no key where it had one."""
    for kind in ("", "track"):
        found = parse(data, 1_000)
        if isinstance(found, Refusal):
            return
        key_in(found.value)
        made = prepared(found, kind)
        assert isinstance(made, Body)
        again = orjson.loads(made.text)
        assert again == made.value
        assert key_in(again) == b""
        assert prepared(made, kind) is made


def notifications(data: bytes) -> None:
    """A body whose items all have the secret is left without it, and says what its value says; others are refused."""
    found, secret = parse(data, 1_000), SCHEMES["microsoft-graph"].secret
    if isinstance(found, Refusal) or secret is None:
        return
    made = proven(found, secret, [digest_of(b"k")])
    if isinstance(made, Refusal):
        _check_refusal(made)
        return
    assert orjson.loads(made.text) == made.value
    assert not [each for each in secret.holders(made.value) if secret.name in each]
    assert secret.taken_out(made) is (made.text if made.as_sent is None else made.as_sent)


def together(data: bytes) -> None:
    """Requests that came together are read as each would be alone."""
    alone = DeliveryHead("s", None, scan([]), None, "192.0.2.1")
    requests = [SimpleNamespace(head=alone, body=body) for body in data.split(b"\0")]
    for source in SOURCES:
        taken, deliveries, others = read_many(source, requests, NOW_MS, LIMITS)
        assert len(taken) + len(others) == len(requests)
        for at, request in enumerate(taken):
            assert deliveries is not None
            single = read(source, alone, request.body, NOW_MS, LIMITS)
            assert isinstance(single, Deliveries)
            part = NumberedDeliveries(1, "abcdef", deliveries).part(at, at + 1)
            assert build_events(part, [0])[0] | {"meta": 0} == _event(single, part.first) | {"meta": 0}


def _event(deliveries: Deliveries, first: int) -> dict[str, object]:
    return build_events(NumberedDeliveries(first, "abcdef", deliveries), [0])[0]


def log_record(data: bytes) -> None:
    """A record of the log whose checksums are right is deliveries, or damaged."""
    at = data.find(b"|")
    facts, bodies = data[:at], data[at + 1 :]
    with suppress(StoreDamaged):
        decode_log(key_of(1), seal(b"facts", key_of(1), facts), None, zstandard.ZstdDecompressor())
    start = seal(b"facts", key_of(1), facts[:_LOG_HEAD] + b"s")
    packed = zstandard.compress(facts[_LOG_HEAD:])
    with suppress(StoreDamaged):
        decode_log(key_of(1), start + packed, seal(b"bodies", key_of(1), bodies), zstandard.ZstdDecompressor())


_LOG_HEAD = 25


def statuses(data: bytes) -> None:
    """Rows of statuses whose checksum is right are rows, or damaged; runs as long as a block's are unrolled."""
    sealed = seal(b"statuses", key_of(1), data)
    with suppress(StoreDamaged):
        counts, _ = decode_runs(key_of(1), sealed)
        if sum(counts.tolist()) < 2**16:
            decode_statuses(key_of(1), sealed)


def journal(data: bytes) -> None:
    """A file that may be a journal holds records of whole appends, or is damaged."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        place = SimpleNamespace(path=Path(directory), identity=STORE)
        (place.path / "journal").write_bytes(data)
        with suppress(StoreDamaged):
            for found in read_journal(place, 1):
                found.appends()
    with suppress(StoreDamaged):  # as if its checksum were right
        Journaled(0, STORE, RUN, 1, 2, data).appends()


def in_hand(data: bytes) -> None:
    """A file that may name the events in hand gives suspects, perhaps none."""
    for each in suspects_after(data, BOOT, STORE).values():
        assert isinstance(each, Suspect)


def configuration(data: bytes) -> None:
    """A configuration is loaded, or its mistakes are named."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        path = Path(directory) / "tidegate.toml"
        path.write_bytes(data)
        with suppress(ConfigError):
            load(path, {})


def _check_refusal(found: Refusal | None) -> None:
    assert found is None or (found.status == STATUS[found.code] < 500 and found.message.isprintable())


def _numbered() -> NumberedDeliveries:
    found = read(SOURCES[1], DeliveryHead("s", None, scan([]), None, "192.0.2.1"), EVENT, NOW_MS, LIMITS)
    assert isinstance(found, Deliveries)
    return NumberedDeliveries(1, "abcdef", found)


def _logged(numbered: NumberedDeliveries) -> tuple[bytes, bytes | None]:
    return encode_log(numbered, zstandard.ZstdCompressor(level=COMPRESSION_LEVEL))


def _journaled() -> bytes:
    append = Append(_numbered(), 1, EventStatus.DEFERRED, NOW_MS)
    return encode([append], STORE, RUN, zstandard.ZstdCompressor(level=COMPRESSION_LEVEL))


CONFIGURATION = b'[server]\nbind = "127.0.0.1:0"\n[sources.demo]\ntype = "webhook"\ntokens = ["a-token"]\n'
NOTIFICATIONS = (
    b'{"value":[{"clientState":"k","a":1},{"\\u0063lientState":"k","b":{"clientState":7}}],"clientState":"\\ud83d"}'
)
SDK_BATCH = b'{"writeKey":"k","batch":[{"a":1,"\\u0077riteKey":"k"},{"writeKey":{"b":[7]}}],"context":{"writeKey":7}}'
PACKED = [gzip.compress(EVENT), zlib.compress(EVENT), zlib.compress(EVENT)[2:-4], zstandard.compress(EVENT)]

TARGETS: Mapping[str, Target] = {
    "heads": Target(
        head,
        [
            HEAD.replace(b"/s ", b"/s?validationToken=a%20b ") + b"Content-Length: 0\r\n\r\n",
            HEAD + b"Content-Length: 2\r\n\r\n",
            HEAD + b"x-a: b\r\nExpect: 100-continue\r\n\r\n",
        ],
    ),
    "requests in pieces": Target(
        protocol,
        [
            HEAD + b"Content-Length: 2\r\n\r\n{}" + HEAD + b"Content-Length: 0\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" + HEAD,
        ],
    ),
    "chunked bodies": Target(chunks, [b"2;a=b\r\n{}\r\n0\r\n\r\nPOST", b"a\r\n0123456789\r\n00\r\nX: y\r\n\r\n"]),
    "compressed bodies": Target(encodings, PACKED),
    "bodies": Target(intake, [EVENT, BATCH, b"[%b,%b]" % (EVENT, EVENT), b"\xef\xbb\xbf" + EVENT]),
    "bodies of SDKs": Target(sdk_bodies, [SDK_BATCH, b'{"writeKey":"k","a":[1,{"b":"\\ud83d"}]}', BATCH]),
    "notifications": Target(notifications, [NOTIFICATIONS, b'{"value":[{"a":"\\ud83d","clientState":"k"}]}']),
    "bodies that came together": Target(together, [b"\0".join([EVENT, BATCH, b"7", EVENT])]),
    "records of the log": Target(log_record, [b"|".join(filter(None, _logged(_numbered())))]),
    "rows of statuses": Target(statuses, [bytes(17)]),
    "journals": Target(journal, [_journaled(), _journaled()[40:]]),
    "files of what is in hand": Target(
        in_hand, [encode_head(BOOT, STORE, {1: Suspect(1, owed=True)}) + encode_page([1, 2, 3])]
    ),
    "configurations": Target(configuration, [CONFIGURATION]),
}
