"""Resolves the secrets of the configuration. No message ever contains one."""

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SECRET_BYTES_MAX = 4096
"""A token has to fit a head of 16384 bytes, beside everything else."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What some editors begin a file with."""

_LIKE_REFERENCE = re.compile(r"\s*[\"']?\s*(?:env|file|sha256)\s*[:=]", re.IGNORECASE)
_LIKE_VARIABLE = re.compile(r"\s*(?:\$[A-Z_][A-Z0-9_]*|\$\{.*\}|\$\(.*\)|\{\{.*\}\}|%[A-Z_][A-Z0-9_]*%)\s*")
NOTHING_DIGEST = hashlib.sha256(b"").digest()

PUBLIC_TOKEN = b"for-trying-only"
"""The demo's token. It is published, so it is refused if other hosts can reach the server."""

PUBLIC_DIGEST = hashlib.sha256(PUBLIC_TOKEN).digest()


class InvalidValue(Exception):
    """A value of the configuration that cannot be used. The message says why and never holds a secret."""


@dataclass(frozen=True, slots=True)
class SecretContext:
    """Where secrets are looked up: the environment, and the directory that `file:` paths are relative to."""

    environ: Mapping[str, str]
    directory: Path

    def __repr__(self) -> str:
        return f"SecretContext({str(self.directory)!r})"  # an environment is full of secrets


def resolve(value: object, context: SecretContext) -> bytes:
    """Return the secret that a literal, `env:NAME` or `file:PATH` stands for. Raises InvalidValue, also if empty."""
    if not isinstance(value, str):
        raise InvalidValue("must be a string: the secret itself, env:NAME or file:PATH")
    if value.startswith("sha256:"):
        raise InvalidValue("sha256: is for the tokens of sources only; here the secret itself is needed")
    scheme, found, rest = value.partition(":")
    if found and scheme == "env":
        secret = _from_environment(rest, context)
    elif found and scheme == "file":
        secret = _from_file(rest, context)
    else:
        _check_literal(value)
        secret = value.encode()
    if not secret:
        raise InvalidValue("is empty")
    if len(secret) > SECRET_BYTES_MAX:
        raise InvalidValue(f"is longer than {SECRET_BYTES_MAX} bytes")
    return secret


def unset_variables(value: object, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the names of the environment variables that are named anywhere in this TOML value, and are not set."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from unset_variables(each, environ)
    elif isinstance(value, str) and re.fullmatch("env:[^=\0]+", value) and value[4:] not in environ:
        yield value[4:]


def token(value: object, context: SecretContext) -> bytes:
    """Return a bearer token, resolved alike. Raises InvalidValue also if no Authorization header could carry it."""
    secret = resolve(value, context)
    if BYTE_ORDER_MARK in secret:
        raise InvalidValue("holds a byte order mark, which no client would send: save it without one")
    if re.search(rb"[\x00-\x20\x7f]", secret):
        raise InvalidValue("holds white space or a control character, so that no client could send it")
    return secret


def token_digest(value: object, context: SecretContext) -> bytes:
    """Return the SHA-256 of a source's token, which may also be given as `sha256:HEX`."""
    if isinstance(value, str) and value.startswith("sha256:"):
        digits = value.removeprefix("sha256:")
        if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
            raise InvalidValue("sha256: must be followed by 64 hex digits")
        digest = bytes.fromhex(digits)
        if digest == NOTHING_DIGEST:
            raise InvalidValue("sha256: is the hash of nothing, so that no token has it")
        return digest
    return hashlib.sha256(token(value, context)).digest()


def _check_literal(written: str) -> None:
    """Raise InvalidValue for what was meant as a reference: taken for the secret itself, it could be guessed."""
    if _LIKE_REFERENCE.match(written):
        raise InvalidValue(
            "looks like a reference and is none: write env:NAME, file:PATH or sha256:HEX, in lower case and without "
            "blanks; put a secret that begins so into a file"
        )
    if _LIKE_VARIABLE.fullmatch(written):
        raise InvalidValue("looks like a variable, which nothing fills in here: write env:NAME; or put it into a file")


def _from_environment(name: str, context: SecretContext) -> bytes:
    found = context.environ.get(name)
    if found is None:
        raise InvalidValue(f"the environment variable {name!r} is not set")
    if not found:
        raise InvalidValue(f"the environment variable {name!r} is empty")
    try:
        _check_literal(found)
    except InvalidValue as error:
        raise InvalidValue(f"the environment variable {name!r} {error}") from None
    return _without_line_end(found.encode("utf-8", "surrogateescape"))


def _from_file(name: str, context: SecretContext) -> bytes:
    try:
        with open(context.directory / name, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidValue(f"the file {name!r} is not a regular file")
            found = file.read(SECRET_BYTES_MAX + 3)  # enough to tell that it is too long
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a possible file name"
        raise InvalidValue(f"the file {name!r} cannot be read: {reason}") from None
    secret = _without_line_end(found)
    if not secret:
        raise InvalidValue(f"the file {name!r} is empty")
    return secret


def _without_line_end(found: bytes) -> bytes:
    return found.removesuffix(b"\n").removesuffix(b"\r") if found.endswith(b"\n") else found


def _without_waiting(path: str, flags: int) -> int:
    """Open without blocking: a FIFO would wait for a writer."""
    return os.open(path, flags | os.O_NONBLOCK)
