"""Secrets of the configuration: where they come from. Nothing here ever puts one into a message."""

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SECRET_BYTES_MAX = 4096
"""A token has to fit a head of 16384 bytes, beside everything else."""

PUBLIC_TOKEN = b"for-trying-only"
"""The demo's token. Everybody knows it, so it is refused if others can reach the server."""

PUBLIC_DIGEST = hashlib.sha256(PUBLIC_TOKEN).digest()


class Wrong(Exception):
    """A value of the configuration that cannot be used. The message says why and never holds a secret."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where secrets are looked up: the environment, and the directory that `file:` paths start from."""

    environ: Mapping[str, str]
    directory: Path

    def __repr__(self) -> str:
        return f"Places({str(self.directory)!r})"  # an environment is full of secrets


def resolve(value: object, places: Places) -> bytes:
    """Return the secret that a literal, `env:NAME` or `file:PATH` stands for. Raises Wrong, also if it is empty."""
    if not isinstance(value, str):
        raise Wrong("must be a string: the secret itself, env:NAME or file:PATH")
    if value.startswith("sha256:"):
        raise Wrong("sha256: is for the tokens of sources only; here the secret itself is needed")
    scheme, found, rest = value.partition(":")
    if found and scheme == "env":
        secret = _from_environment(rest, places)
    elif found and scheme == "file":
        secret = _from_file(rest, places)
    else:
        secret = value.encode()
    if not secret:
        raise Wrong("is empty")
    if len(secret) > SECRET_BYTES_MAX:
        raise Wrong(f"is longer than {SECRET_BYTES_MAX} bytes")
    return secret


def token(value: object, places: Places) -> bytes:
    """Return the same for a bearer token: one that no Authorization header could carry is Wrong."""
    secret = resolve(value, places)
    if re.search(rb"[\x00-\x20\x7f]", secret):
        raise Wrong("holds white space or a control character, so that no client could send it")
    return secret


def token_digest(value: object, places: Places) -> bytes:
    """Return the SHA-256 of a source's token, which may also be given as `sha256:HEX`."""
    if isinstance(value, str) and value.startswith("sha256:"):
        digits = value.removeprefix("sha256:")
        if not re.fullmatch(r"[0-9a-fA-F]{64}", digits):
            raise Wrong("sha256: must be followed by 64 hex digits")
        return bytes.fromhex(digits)
    return hashlib.sha256(token(value, places)).digest()


def _from_environment(name: str, places: Places) -> bytes:
    found = places.environ.get(name)
    if found is None:
        raise Wrong(f"the environment variable {name!r} is not set")
    if not found:
        raise Wrong(f"the environment variable {name!r} is empty")
    return found.encode("utf-8", "surrogateescape")


def _from_file(name: str, places: Places) -> bytes:
    try:
        with open(places.directory / name, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise Wrong(f"the file {name!r} is not a regular file")
            found = file.read(SECRET_BYTES_MAX + 3)  # enough to tell that it is too long
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a possible file name"
        raise Wrong(f"the file {name!r} cannot be read: {reason}") from None
    secret = found.removesuffix(b"\n").removesuffix(b"\r") if found.endswith(b"\n") else found
    if not secret:
        raise Wrong(f"the file {name!r} is empty")
    return secret


def _without_waiting(path: str, flags: int) -> int:
    """Open a FIFO at once: otherwise that takes until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)
