"""Changes of sources: a new text is made, judged as the server would, and takes the place of the old one, or none."""

import hashlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from server.base.printable import printable
from server.base.source import Source
from server.cli.check import processors
from server.cli.credentials import FOLDER, ask_secret, hashed, keep, new_credential, read_secret
from server.cli.exit_codes import ERROR, MISTAKE
from server.cli.failure import CommandFailed, say
from server.cli.known_source import configured
from server.cli.output import print_bytes, print_json
from server.cli.paste import RELOAD, steps
from server.cli.providers import BEARER, PROVIDERS, Provider
from server.config.edit import CannotEdit, Edit, edited, with_first, with_first_only, with_source
from server.config.load import SOURCE_ID, SOURCE_ID_WORDS, Config, ConfigError, absolute, load
from server.config.replace import FileChanged, locked
from server.config.secrets import unset_variables
from server.config.toml_text import parse
from server.runtime.cautions import cautions


@dataclass(slots=True)
class Made:
    """What a change has made so far."""

    config: Config
    """As it was before."""
    shown: dict[str, str] = field(default_factory=dict, repr=False)
    """What is filled into the lines for people; secrets are in it that are shown this once."""
    files: list[Path] = field(default_factory=list)
    """New ones, with a secret each."""

    def keep(self, stem: str, secret: bytes) -> str:
        """Keep a secret in a file; return how the configuration refers to it."""
        directory, store = self.config.path.parent, self.config.storage.path
        try:
            owned = next(each for each in (store, *store.parents) if each.exists())
            path = keep(directory, stem, secret, owned.stat())
        except OSError as error:
            raise CommandFailed(ERROR, f"{directory / FOLDER}: cannot be written to: {error.strerror}") from None
        self.files.append(path)
        return self._reference(path)

    def discard(self) -> None:
        """Remove the new files, but for those that the configuration refers to: it may have been changed already."""
        try:
            text = self.config.path.read_bytes()
        except OSError:
            return  # nobody knows
        for path in self.files:
            if self._reference(path).encode() not in text:
                path.unlink(missing_ok=True)

    def _reference(self, path: Path) -> str:
        return f"file:{path.relative_to(self.config.path.parent)}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which source is made or changed, and what was said about its secret and its address."""

    config: Path
    name: str
    secret_from: str | None
    url: str | None


def run_add(
    *,
    config: Path,
    name: str,
    kind: str,
    provider: str | None,
    processor: str | None,
    secret_from: str | None,
    url: str | None,
) -> int:
    wanted = Wanted(config, name, secret_from, url)
    sender = _sender(kind, provider, wanted)
    with _making(wanted) as made:
        if not re.fullmatch(SOURCE_ID, name):
            raise CommandFailed(MISTAKE, f"{name!r}: {SOURCE_ID_WORDS}")
        if name in made.config.sources:
            raise CommandFailed(MISTAKE, f"{made.config.path} has a source {name!r} already")
        settings: dict[str, object] = {"type": kind, "tokens": []}
        if sender is None or sender.takes_token:
            settings["tokens"] = [_new_token(made)]
        if sender is not None and sender is not BEARER:
            settings["signing_secrets"] = [_secret(wanted, sender, made)]
            settings["signature"] = provider
            if sender.has_verify_token:
                made.shown["verify_token"] = new_credential()
                settings["verify_token"] = made.keep(f"{name}-verify", made.shown["verify_token"].encode())
            settings |= sender.settings
        if processor is not None:
            settings["processor"] = processor
        _change(made.config.path, partial(with_source, name=name, settings=settings), name)
    return _show(made, wanted, kind, provider or "")


def run_rotate(config: Path, name: str, *, token: bool, secret: bool, secret_from: str | None, url: str | None) -> int:
    wanted = Wanted(config, name, secret_from, url)
    with _making(wanted) as made:
        source = configured(made.config, name)
        key = _which(source, token=token, secret=secret)
        if key == "tokens" and secret_from is not None:
            raise CommandFailed(MISTAKE, "--secret-from: a token is made anew, and not read from anywhere")
        entry = _new_token(made) if key == "tokens" else _secret(wanted, PROVIDERS[source.signature], made, source)
        _change(made.config.path, partial(with_first, source=name, key=key, entry=entry), name)
    code = _show(made, wanted, source.type, source.signature if source.signing_keys else "")
    said = " --token" if key == "tokens" else " --secret"
    both = source.token_digests and source.signing_keys
    say(f"the old one is accepted too, until: tidegate source retire {name}{said if both else ''}")
    return code


def run_retire(config: Path, name: str, *, token: bool, secret: bool) -> int:
    found = judged(config)
    source = configured(found, name)
    key = _which(source, token=token, secret=secret)
    entries = parse(found.path)["sources"][source.id][key]
    if len(entries) < 2:
        raise CommandFailed(
            ERROR, f"sources.{source.id}.{key} has one entry, which stays: `source rotate` adds another"
        )
    _change(found.path, partial(with_first_only, source=source.id, key=key), source.id)
    print_json({"source": source.id, "key": key, "removed": len(entries) - 1})
    for entry in entries[1:]:
        if entry.startswith("file:"):
            say(f"{entry[5:]} is not needed for it any more, once the server has taken this over")
    say(RELOAD)
    return 0


def judged(path: Path, content: bytes | None = None) -> Config:
    """Return the configuration, or raise ConfigError, as the server would.

    Environment variables that are not set here may be set for the server, so they are taken as set.
    """
    path = absolute(path)
    names = unset_variables(parse(path, content), os.environ)
    assumed = {name: hashlib.sha256(name.encode()).hexdigest() for name in names}
    return load(path, os.environ | assumed, content)


@contextmanager
def _making(wanted: Wanted) -> Iterator[Made]:
    """Yield what the block makes; if it fails, the new files are removed."""
    config = judged(wanted.config)
    made = Made(config)
    base = f"http://{config.server.bind}" if wanted.url is None else wanted.url.rstrip("/")
    if not re.fullmatch(r"https?://[!-~]+", base):
        raise CommandFailed(MISTAKE, "--url: must be such as https://hooks.example.com")
    made.shown |= {"base": base, "url": f"{base}/ingest/inbound/{wanted.name}"}
    try:
        yield made
    except BaseException:  # an interrupt too leaves no secret behind, and goes on
        made.discard()
        raise


def _sender(kind: str, provider: str | None, wanted: Wanted) -> Provider | None:
    """Return who sends; None for Segment's SDKs."""
    if kind == "segment" and provider:
        raise CommandFailed(MISTAKE, "--provider: is for --type webhook only")
    if wanted.secret_from is not None and not provider:
        raise CommandFailed(MISTAKE, "--secret-from: is for sources with a --provider, whose senders sign")
    if kind == "segment":
        return None
    return PROVIDERS[provider] if provider else BEARER


def _new_token(made: Made) -> str:
    """Make a token, to be shown; return it as the configuration has it."""
    made.shown["token"] = new_credential()
    return hashed(made.shown["token"])


def _secret(wanted: Wanted, provider: Provider, made: Made, source: Source | None = None) -> str:
    """Read or make the secret of a provider; return the reference to the file that it is kept in."""
    if wanted.secret_from is not None:
        secret = read_secret("--secret-from", wanted.secret_from)
    elif provider.secret:
        words = f"{provider.title} shows its {provider.secret}; the address to enter there is {made.shown['url']}"
        secret = ask_secret(provider.secret, words)
    else:
        made.shown["secret"] = new_credential()
        secret = made.shown["secret"].encode()
    if source is not None and secret in source.signing_secrets:
        raise CommandFailed(MISTAKE, f"sources.{source.id}.signing_secrets has this secret already")
    return made.keep(f"{wanted.name}-signing", secret)


def _which(source: Source, *, token: bool, secret: bool) -> str:
    """Return the list that is meant."""
    if token and secret:
        raise CommandFailed(MISTAKE, "say --token or --secret, not both")
    has = {"tokens": bool(source.token_digests), "signing_secrets": bool(source.signing_keys)}
    if not token and not secret and all(has.values()):
        raise CommandFailed(MISTAKE, f"source {source.id!r} has tokens and secrets: say --token or --secret")
    said = "tokens" if token else "signing_secrets" if secret else None
    key = said or next(key for key, there in has.items() if there)
    if not has[key]:
        raise CommandFailed(MISTAKE, f"source {source.id!r} has no {key}")
    return key


def _change(path: Path, edit: Edit, name: str) -> None:
    """Edit the file if it is good with that. Raises CommandFailed; then it is as it was."""
    try:
        with locked(path) as file:
            judged(path, file.content)
            content = edited(file.content, edit)
            config = judged(path, content)
            changed = {name: config.sources[name]}
            functions, mistakes = processors(changed, path.parent)
            if mistakes:
                raise ConfigError(mistakes)
            file.replace(content)
            for words in cautions(changed, functions):
                say(f"warning: {words}")
    except ConfigError as error:
        raise CommandFailed(MISTAKE, *error.mistakes, f"{path} is as it was") from None
    except CannotEdit as error:
        raise CommandFailed(MISTAKE, f"{path}: {error}") from None
    except FileChanged:
        raise CommandFailed(ERROR, f"{path} was changed by somebody else meanwhile, and stays so: try again") from None
    except OSError as error:
        raise CommandFailed(ERROR, f"{path}: cannot be written: {error.strerror}") from None


def _show(made: Made, wanted: Wanted, kind: str, signature: str) -> int:
    """Print what is to be entered at the sender: for people on a terminal, else as JSON."""
    path = made.config.path
    if sys.stdout.isatty():
        lines = steps(kind, signature, made.shown, made.files)
        print_bytes("".join(f"{printable(line)}\n" for line in lines).encode())
    else:
        value = {"source": wanted.name, "type": kind, "signature": signature or None}
        print_json(value | _value(made.shown, made.files))
    if wanted.url is None:
        say(f"{made.shown['base']} is server.bind; where senders reach the server by another address, say --url")
    say(f"{path} is valid with it")
    unset = sorted(set(unset_variables(parse(path), os.environ)))
    if unset:
        say(f"not set here, and taken as set for the server: {', '.join(unset)}")
    say(RELOAD)
    return 0


def _value(shown: Mapping[str, str], files: list[Path]) -> dict[str, object]:
    return {key: value for key, value in shown.items() if key != "base"} | {"secret_files": [*map(str, files)]}
