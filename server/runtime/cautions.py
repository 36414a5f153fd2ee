"""What works in a configuration, and is probably not meant: said by `check`, at the start and at a reload."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

from server.base.source import Source
from server.config.secrets import BYTE_ORDER_MARK
from server.flow.processor import is_async
from server.flow.senders import key_holders
from server.flow.unsuited import asyncio_imports
from server.intake.schemes import SCHEMES


def cautions(sources: Mapping[str, Source], functions: Mapping[str, Callable[..., Any]]) -> list[str]:
    """Return a line for each, which begins with its key and holds no secret. `functions`: the processors by source."""
    found = [
        f"sources.{', '.join(ids)}: have a token in common, which therefore finds no source at the root (/v1/batch)"
        for ids in key_holders(sources.values()).values()
        if len(ids) > 1
    ]
    for source in sources.values():
        for place, secret in enumerate(source.signing_secrets):
            if secret != secret.strip() or secret.startswith(BYTE_ORDER_MARK):
                words = "begins or ends with white space or a byte order mark, which is part of the secret"
                found.append(f"sources.{source.id}.signing_secrets: entry {place + 1}: {words}")
        if source.signing_keys and source.token_digests and not SCHEMES[source.signature].can_send_token:
            words = f"senders that sign as {source.signature} send no Authorization header: they need tokens = []"
            found.append(f"sources.{source.id}.tokens: {words}")
        missing = filter(_is_missing, source.processor_outages)
        found += [f"sources.{source.id}.processor_outages: there is no {name} in that module" for name in missing]
        function = functions.get(source.id)
        module_name = source.processor.partition(":")[0]
        names = asyncio_imports(module_name) if function is not None and is_async(function) else ()
        if names:
            words = f"its module imports {', '.join(names)}, which does not work on trio, where async processors run"
            found.append(f"sources.{source.id}.processor: {words}: make it a plain function that calls asyncio.run")
    return found


def _is_missing(class_name: str) -> bool:
    """Return whether its module is loaded and does not have it. What a processor imports later is not known yet."""
    module_name, _, name = class_name.rpartition(".")
    return module_name in sys.modules and name not in vars(sys.modules[module_name])


def warn(sources: Mapping[str, Source], functions: Mapping[str, Callable[..., Any]], logger: Any) -> None:
    """Log each of them."""
    for line in cautions(sources, functions):
        logger.warning("probably not meant", setting=line)
