"""How senders sign: one function a scheme, from a message to the headers that its sender would send with it."""

import base64
from collections.abc import Callable

from server.intake.claims import Message


def nothing(_: Message) -> dict[str, str]:
    return {}


def alone(name: str, prefix: str = "sha256=") -> Callable[[Message], dict[str, str]]:
    """Return how a scheme signs that has the signature of the body alone in one header, in hex."""
    return lambda message: {name: prefix + message.digest().hex()}


def standard(message: Message) -> dict[str, str]:
    digest = message.digest(f"{message.event_id}.{message.at_seconds}.")
    signature = f"v1,{base64.b64encode(digest).decode()}"
    at = str(message.at_seconds)
    return {"webhook-id": message.event_id, "webhook-timestamp": at, "webhook-signature": signature}


def stripe(message: Message) -> dict[str, str]:
    at = message.at_seconds
    return {"stripe-signature": f"t={at},v1={message.digest(f'{at}.').hex()}"}


def github(message: Message) -> dict[str, str]:
    names = {"x-github-delivery": message.event_id, "x-github-event": message.event_type}
    return names | alone("x-hub-signature-256")(message)


def shopify(message: Message) -> dict[str, str]:
    names = {"x-shopify-webhook-id": message.event_id, "x-shopify-topic": message.event_type}
    return names | {"x-shopify-hmac-sha256": base64.b64encode(message.digest()).decode()}


def dated(signature: str, timestamp: str) -> Callable[[Message], dict[str, str]]:
    """Return how a scheme signs `v0:TIMESTAMP:BODY`."""

    def sign(message: Message) -> dict[str, str]:
        at = message.at_seconds
        return {timestamp: str(at), signature: f"v0={message.digest(f'v0:{at}:').hex()}"}

    return sign


def x(message: Message) -> dict[str, str]:
    return {"x-twitter-webhooks-signature": f"sha256={base64.b64encode(message.digest()).decode()}"}
