"""References to secrets, and lists of them: a mistaken or an empty one is an error, never a secret, never open."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from server.base.source import Source
from server.config.load import ConfigError, load

Read = Callable[..., Source]

ENVIRONMENT = {"TOKEN": "from-env", "EMPTY": "", "NESTED": "File:token", "SHELL": "${TOKEN}\n"}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads the one source of a configuration, whose keys are these."""
    (tmp_path / "token").write_text("from-file")

    def read(server: str = "", **keys: object) -> Source:
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        text = "\n".join(["[server]", server, "[sources.demo]", 'type = "webhook"', *lines])
        (tmp_path / "tidegate.toml").write_text(text)
        return load(tmp_path / "tidegate.toml", ENVIRONMENT).sources["demo"]

    return read


def only_mistake(read: Read, **keys: object) -> str:
    with pytest.raises(ConfigError) as error:
        read(**keys)
    [mistake] = error.value.mistakes
    return mistake


MISTAKEN = [
    *("Env:TOKEN", "ENV:TOKEN", " env:TOKEN", "env :TOKEN", "env=TOKEN", "'env:TOKEN'", '"env:TOKEN"', "\tenv:TOKEN"),
    *("env: TOKEN", "env:TOKEN ", "env:", "env:$TOKEN", "env:EMPTY", "env:NESTED", "env:SHELL"),
    *("File:token", "file:", "file :token", "file: token", "file:.", "FILE=token", "file:nowhere"),
    *("SHA256:" + "0" * 64, " sha256:" + "0" * 64, "sha256=" + "0" * 64, "Sha256:x"),
    *("$TOKEN", "${TOKEN}", "${TOKEN:-x}", " $TOKEN ", "$(cat token)", "{{ TOKEN }}", "%TOKEN%"),
]


@pytest.mark.parametrize("written", MISTAKEN)
def test_a_mistaken_reference_is_no_secret(read: Read, written: str) -> None:
    """What was meant as a reference is an error of its key, whichever that is, and never the secret itself."""
    mistakes = [
        only_mistake(read, tokens=["a-good-one", written]),
        only_mistake(read, tokens=["a-good-one"], signing_secrets=[written]),
        only_mistake(read, server=f"admin_token = {json.dumps(written)}", tokens=["a-good-one"]),
    ]
    keys = ("sources.demo.tokens", "sources.demo.signing_secrets", "server.admin_token")
    assert [mistake.partition(": ")[0] for mistake in mistakes] == list(keys)
    assert not any("from-" in mistake for mistake in mistakes)


def test_a_secret_that_looks_like_a_reference(read: Read, tmp_path: Path) -> None:
    """From a file it is taken as it is; what only begins alike is a literal."""
    literals = ["environment", "profile:x", "$ecret", "$2b$10$x", "my-sha256:x", "{x}", "100%"]
    (tmp_path / "token").write_text("env:TOKEN")
    secrets = [each.encode() for each in ("env:TOKEN", *literals)]
    source = read(tokens=["file:token", *literals], signing_secrets=["file:token", *literals])
    assert source.token_digests == tuple(hashlib.sha256(each).digest() for each in secrets)
    assert source.signing_secrets == tuple(secrets)


@pytest.mark.parametrize(
    "digits", ["", "0", "0" * 63, "0" * 65, "g" * 64, "0" * 64 + " ", hashlib.sha256().hexdigest()]
)
def test_a_hash_of_nothing_is_an_error(read: Read, digits: str) -> None:
    """A hash has 64 hex digits, and is not that of an empty token."""
    assert only_mistake(read, tokens=[f"sha256:{digits}"]).startswith("sources.demo.tokens: ")


OPEN: list[tuple[str, dict[str, object]]] = [
    ("tokens", {}),
    ("tokens", {"tokens": []}),
    ("tokens", {"tokens": ""}),
    ("tokens", {"tokens": [""]}),
    ("tokens", {"tokens": ["good", ""]}),
    ("tokens", {"tokens": [], "signing_secrets": []}),
    ("tokens", {"tokens": [""], "signing_secrets": ["good"]}),
    ("signing_secrets", {"tokens": [], "signing_secrets": [""]}),
    ("signing_secrets", {"tokens": ["good"], "signing_secrets": [""]}),
    ("signing_secrets", {"tokens": ["good"], "signing_secrets": ""}),
    ("signing_secrets", {"tokens": ["good"], "signing_secrets": ["good", ""]}),
]


@pytest.mark.parametrize(("key", "keys"), OPEN)
def test_an_empty_list_opens_nothing(read: Read, key: str, keys: dict[str, object]) -> None:
    """A list with an empty secret, or neither a token nor a signing secret, is an error: never is a source open."""
    assert only_mistake(read, **keys).startswith(f"sources.demo.{key}: ")


@pytest.mark.parametrize("written", ["", "env:EMPTY"])
def test_an_empty_admin_token_opens_loopback_alone(read: Read, written: str) -> None:
    """Without an admin token, an address that others reach is an error."""
    server = f'admin_bind = "0.0.0.0:8081"\nadmin_token = {json.dumps(written)}'
    assert only_mistake(read, server=server, tokens=["good"]).startswith("server.admin_token: ")
