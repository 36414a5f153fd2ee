"""The record of refused requests: any bytes are a record or nothing."""

import json
import zlib
from collections import deque
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from server.observe.refusals import describe
from storage.refusals.records import SLOT_BYTES, RefusalRecord, decode, encode
from storage.refusals.ring_file import NAME, RingFile, read

texts = st.text(max_size=700) | st.text(st.characters(), max_size=10)
records = st.builds(
    RefusalRecord,
    source_id=st.sampled_from(["demo", "other"]),
    at_ms=st.integers(0, 10**14),
    status=st.integers(400, 503),
    code=st.just("unauthorized"),
    why=texts,
    is_known=st.booleans(),
    remote_addr=texts,
    method=texts,
    path=texts,
    headers=st.dictionaries(st.text(min_size=1, max_size=40), texts, max_size=40),
    body=st.binary(max_size=5000),
    body_bytes=st.integers(0, 2**40),
    suppressed=st.integers(0, 2**40),
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=13),
    max_leaves=20,
)


def sealed(number: int, text: bytes, body: bytes) -> bytes:
    """A slot whose checksum is right, whatever is in it."""
    found = b"why1" + number.to_bytes(8, "little") + len(text).to_bytes(2, "little") + len(body).to_bytes(2, "little")
    content = found + text + body
    return zlib.crc32(content).to_bytes(4, "little") + content


def check(slot: bytes) -> None:
    found = decode(slot)
    if found is not None:
        assert len(encode(*found)) == SLOT_BYTES
        json.dumps(describe(found.record))


@given(records)
def test_every_record_fits_a_slot(record: RefusalRecord) -> None:
    """Whatever was refused makes a slot that is read again, with all that has no length of its own."""
    slot = encode(1, record)
    assert len(slot) == SLOT_BYTES
    found = decode(slot)
    assert found is not None
    assert found.record.body == record.body[:4096]
    assert (found.record.at_ms, found.record.suppressed) == (record.at_ms, record.suppressed)
    assert len(found.record.headers) <= len(record.headers)
    json.dumps(describe(found.record))


@given(st.binary(max_size=600) | st.binary(min_size=1, max_size=300).map(lambda each: b"\0\0\0\0why1" + each))
def test_any_bytes_are_read_or_ignored(data: bytes) -> None:
    """Bytes of any kind are a record that can be shown, or nothing."""
    check(data)


@given(st.integers(0, 2**64 - 1), values, st.binary(max_size=50))
def test_rightly_sealed_nonsense_is_ignored(number: int, value: object, body: bytes) -> None:
    """Where the checksum is right, the rest is looked at all the same."""
    check(sealed(number, json.dumps(value).encode(), body))


@given(records, st.data())
def test_a_changed_value_is_ignored(record: RefusalRecord, data: st.DataObject) -> None:
    """A slot in which one value has become another kind of value is shown or ignored, and raises nothing."""
    slot = encode(1, record)
    size = int.from_bytes(slot[16:18], "little")
    found = json.loads(slot[20 : 20 + size])
    found[data.draw(st.sampled_from(sorted(found)))] = data.draw(values)
    check(sealed(1, json.dumps(found).encode()[:60_000], b""))


@given(st.binary(max_size=3 * SLOT_BYTES), records)
def test_a_file_of_anything_goes_on(content: bytes, record: RefusalRecord) -> None:
    """A server that finds any file there writes its record into it, and reads it again."""
    with TemporaryDirectory(dir="/dev/shm") as directory:
        path = Path(directory)
        (path / NAME).write_bytes(content)
        file = RingFile(path, ("demo", "other"))
        assert file.write(deque([record])) is None
        [found] = file.read(record.source_id, 9)
        assert read(path, record.source_id, 9) == [found]
        assert found.body_bytes == record.body_bytes
