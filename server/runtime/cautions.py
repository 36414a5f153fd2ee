"""What works in a configuration, and is probably not meant: said by `check`, at the start and at a reload."""

from collections.abc import Callable, Mapping
from typing import Any

from server.base.source import Source
from server.config.secrets import BYTE_ORDER_MARK
from server.flow.processor import is_async
from server.flow.unsuited import asyncio_imports


def cautions(sources: Mapping[str, Source], functions: Mapping[str, Callable[..., Any]]) -> list[str]:
    """Return a line for each, which begins with its key and holds no secret. `functions`: the processors by source."""
    found = []
    for source in sources.values():
        if any(secret != secret.strip() or secret.startswith(BYTE_ORDER_MARK) for secret in source.signing_secrets):
            words = "one begins or ends with white space or a byte order mark, which is part of the secret"
            found.append(f"sources.{source.id}.signing_secrets: {words}")
        function = functions.get(source.id)
        module_name = source.processor.partition(":")[0]
        names = asyncio_imports(module_name) if function is not None and is_async(function) else ()
        if names:
            words = f"async processors run on trio, where {', '.join(names)} of its module will not work"
            found.append(f"sources.{source.id}.processor: {words}; a plain function may use asyncio.run")
    return found


def warn(sources: Mapping[str, Source], functions: Mapping[str, Callable[..., Any]], logger: Any) -> None:
    """Log each of them."""
    for line in cautions(sources, functions):
        logger.warning("probably not meant", setting=line)
