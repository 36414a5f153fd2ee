"""What each provider of webhooks calls things: where its console asks for the address, and who makes the secret."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NO_ID = MappingProxyType({"missing_event_id": "hash"})
"""For those that send no id: the hash of the content makes what is sent again a duplicate."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider, as its page in `docs/senders/` has it."""

    title: str
    place: str
    """Where its console asks for what is printed."""
    fields: tuple[tuple[str, str], ...]
    """What is entered there, by the field's name there: texts with {url}, {token}, {secret} and {verify_token}."""
    secret: str = ""
    """What it calls a secret that it makes itself; "" if the user chooses one."""
    takes_token: bool = False
    """Whether its sender is told to send a Bearer token as well."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What a source of it needs besides."""

    @property
    def has_verify_token(self) -> bool:
        return any("{verify_token}" in value for _, value in self.fields)


ADDRESS = (("Endpoint URL", "{url}"),)
TOKEN_FIELD = ("Header", "Authorization: Bearer {token}")

PROVIDERS: Mapping[str, Provider] = {
    "stripe": Provider("Stripe", "Developers, Webhooks, Add endpoint", ADDRESS, "signing secret"),
    "github": Provider(
        "GitHub",
        "Settings, Webhooks, Add webhook",
        (("Payload URL", "{url}"), ("Content type", "application/json"), ("Secret", "{secret}")),
    ),
    "shopify": Provider(
        "Shopify",
        "the webhooks of the app or of the shop's notification settings",
        (("Format", "JSON"), ("URL", "{url}")),
        "client secret",
    ),
    "slack": Provider("Slack", "the app's Event Subscriptions", (("Request URL", "{url}"),), "signing secret"),
    "meta": Provider(
        "Meta",
        "the app's dashboard, Webhooks",
        (("Callback URL", "{url}"), ("Verify token", "{verify_token}")),
        "app secret",
        settings=NO_ID,
    ),
    "zoom": Provider(
        "Zoom",
        "the app's Event Subscriptions",
        (("Event notification endpoint URL", "{url}"),),
        "secret token",
        settings=NO_ID,
    ),
    "x": Provider("X", "the developer portal", (("Webhook URL", "{url}"),), "consumer secret", settings=NO_ID),
    "microsoft-graph": Provider(
        "Microsoft Graph",
        "the body of POST https://graph.microsoft.com/v1.0/subscriptions",
        (("notificationUrl", "{url}"), ("lifecycleNotificationUrl", "{url}"), ("clientState", "{secret}")),
    ),
    "standard-webhooks": Provider("the vendor", "an endpoint", ADDRESS, "signing secret"),
    "convertmax": Provider(
        "the sender",
        "its configuration",
        (
            ("URL", "{url}"),
            TOKEN_FIELD,
            ("Header", "x-convertmax-signature: the HMAC-SHA256 of the body, in hex, under the secret"),
            ("Secret", "{secret}"),
        ),
        takes_token=True,
    ),
}
"""By the scheme by which they sign: one for each."""

BEARER = Provider(
    "the sender",
    "its configuration",
    (("URL", "{url}"), TOKEN_FIELD),
    takes_token=True,
)
"""A webhook without a signature."""
