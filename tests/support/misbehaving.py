"""A server on loopback that answers as it is told, whatever is asked: what a client raises then is the client's own."""

import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.waiting import HANG_SECONDS

Say = Callable[[bytes], tuple[bytes, bool]]
"""From what was received to what is answered, and whether the connection is closed then."""


@contextmanager
def misbehaving(say: Say, *, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server that answers each message like this."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=_accept, args=(listener, say, tls), daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(HANG_SECONDS)


def refusing() -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def untrusted(directory: Path) -> ssl.SSLContext:
    """TLS with a certificate for 127.0.0.1 that nobody has signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / "untrusted.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def _accept(listener: socket.socket, say: Say, tls: ssl.SSLContext | None) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # it is over
            return
        threading.Thread(target=_talk, args=(connection, say, tls), daemon=True).start()


def _talk(connection: socket.socket, say: Say, tls: ssl.SSLContext | None) -> None:
    with suppress(OSError), connection, tls.wrap_socket(connection, server_side=True) if tls else connection as talking:
        is_closing = False
        while not is_closing and (received := talking.recv(65536)):
            answer, is_closing = say(received)
            talking.sendall(answer)
