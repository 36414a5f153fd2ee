"""Makes tokens and secrets, reads those that a vendor has made, and keeps secrets in files of their own.

A token is compared by its hash, so the hash is all that the configuration gets: whoever reads that, or a backup of it,
cannot send. A secret is needed as it is, to verify signatures; it goes into a file that the service alone can read, and
not into the configuration, which people show each other. A file is read again at a reload, as a variable is not.
"""

import getpass
import hashlib
import os
import re
import secrets
import sys
from pathlib import Path

from server.cli.exit_codes import MISTAKE
from server.cli.failure import CommandFailed, say
from server.config.replace import flush_directory
from server.config.secrets import InvalidValue, SecretContext, resolve

CREDENTIAL_BYTES = 32
"""As much as a SHA-256 can tell apart."""

FOLDER = "secrets"
"""Beside the configuration."""


def new_credential() -> str:
    """Return a token or a secret that nobody can guess."""
    return secrets.token_urlsafe(CREDENTIAL_BYTES)


def hashed(token: str) -> str:
    """Return a token as the configuration has it."""
    return f"sha256:{hashlib.sha256(token.encode()).hexdigest()}"


def read_secret(option: str, reference: str) -> bytes:
    """Return the secret that an option's `env:NAME` or `file:PATH` stands for; a path is relative to the working
    directory. Raises CommandFailed."""
    if not re.match("(env|file):", reference):
        words = "env:NAME or file:PATH; the secret itself would be in process listings and the shell's history"
        raise CommandFailed(MISTAKE, f"{option}: must be {words}")
    try:
        return resolve(reference, SecretContext(os.environ, Path()))
    except InvalidValue as error:
        raise CommandFailed(MISTAKE, f"{option}: {error}") from None


def ask_secret(name: str, before: str) -> bytes:
    """Return what is typed or pasted on the terminal, without echo; `before` is said first. Raises CommandFailed."""
    if not sys.stdin.isatty():
        raise CommandFailed(MISTAKE, f"the {name} is asked for on a terminal; without one say --secret-from")
    say(before)
    try:
        secret = getpass.getpass(f"{name[0].upper()}{name[1:]} (not shown): ").strip()
    except EOFError:
        secret = ""
    if not secret:
        raise CommandFailed(MISTAKE, f"no {name} was entered")
    return secret.encode("utf-8", "surrogateescape")


def keep(directory: Path, stem: str, secret: bytes, service: os.stat_result) -> Path:
    """Write a secret to a new file for the owner that `service` has; return its path. Overwrites nothing.

    Raises OSError. `directory` is that of the configuration.
    """
    folder = directory / FOLDER
    made = not folder.exists()
    folder.mkdir(mode=0o700, exist_ok=True)
    if made:
        _give(folder, service)
    path, opened = _new_file(folder, stem)
    with os.fdopen(opened, "wb") as file:
        file.write(secret + b"\n" * secret.endswith(b"\n"))  # one line end at the end is cut when it is read
        file.flush()
        _give(opened, service)
        os.fsync(opened)
    flush_directory(folder)
    return path


def _new_file(folder: Path, stem: str) -> tuple[Path, int]:
    """Return the path and the descriptor of a file that did not exist."""
    number = 1
    while True:
        path = folder / f"{stem}-{number}"
        try:
            return path, os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            number += 1


def _give(what: Path | int, service: os.stat_result) -> None:
    """Give what root made to the service's user, who could not read it otherwise."""
    if os.geteuid() == 0:
        os.chown(what, service.st_uid, service.st_gid)
