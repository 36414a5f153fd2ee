"""The configuration of a server under test, as TOML text, and which front end it uses."""

import json
import re

from tests.support.waiting import NEVER_SECONDS

fast_lane = True
"""Whether deliveries go to the fast front end: set once, by pytest's option `--front-end`."""

TOKEN = "a-token-of-the-tests"

PATIENT_LIMITS = {f"{name}_timeout_seconds": NEVER_SECONDS for name in ("header", "body", "keep_alive", "drain")}
"""A slow machine is no slow client: a test that is about one of these limits sets it."""

ANY_DISK = "[storage]\nfree_bytes_min = 1\n"
"""A machine whose disk is nearly full tests as well as any."""

LIMITS_TABLE = re.compile(r"^\[limits\]\n((?:[^\[\n].*\n|\n)*)", re.MULTILINE)


def source(source_id: str, **keys: object) -> str:
    """A `[sources.ID]` table: a webhook source that takes TOKEN, unless the keys say otherwise."""
    table: dict[str, object] = {"type": "webhook", "tokens": [TOKEN]}
    if "processor" in keys:
        table["processor_timeout_seconds"] = NEVER_SECONDS
    lines = [f"{key} = {json.dumps(value)}" for key, value in {**table, **keys}.items()]
    return "\n".join([f"[sources.{source_id}]", *lines, ""])


def whole(sections: str, server_keys: str = "", *, fast: bool | None = None) -> str:
    """A configuration with these sections, on free ports."""
    lane = json.dumps(fast_lane if fast is None else fast)
    server = f'[server]\nbind = "127.0.0.1:0"\nadmin_bind = "127.0.0.1:0"\nfast_lane = {lane}\n{server_keys}\n'
    storage = "" if "[storage]" in sections else ANY_DISK
    return server + storage + _patient(sections)


def _patient(sections: str) -> str:
    """The sections with PATIENT_LIMITS where they do not say otherwise."""
    found = LIMITS_TABLE.search(sections)
    said = found[1] if found else ""
    more = "".join(f"{key} = {value}\n" for key, value in PATIENT_LIMITS.items() if f"{key} =" not in said)
    without = sections if found is None else sections[: found.start()] + sections[found.end() :]
    return f"[limits]\n{said}{more}\n{without}"
