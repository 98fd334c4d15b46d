"""Where the door may listen, and with which certificate."""

from __future__ import annotations

import ipaddress
import ssl

from undercroft.core.errors import InvalidError, RefusedError
from undercroft.core.settings import GatewaySettings


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address; a name other than localhost counts as public."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def url_of(settings: GatewaySettings) -> str:
    """The door's address as a client writes it."""
    scheme = "https" if settings.tls_cert_file else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{scheme}://{host}:{settings.port}"


def check_listening(settings: GatewaySettings) -> None:
    """Refuses to listen where others could read keys and prompts on the wire.

    Raises:
        InvalidError: Only one of certificate and key is set.
        RefusedError: The address is public and there is no TLS.
    """
    if (settings.tls_cert_file is None) != (settings.tls_key_file is None):
        missing = "tls_cert_file" if settings.tls_cert_file is None else "tls_key_file"
        raise InvalidError(
            "half-of-tls",
            f"expected both gateway.tls_cert_file and gateway.tls_key_file, gateway.{missing} is not set",
            hint=f"set gateway.{missing}",
        )
    if settings.tls_cert_file is None and not is_loopback(settings.host):
        raise RefusedError(
            "public-without-tls",
            f"the door would listen on {settings.host}, which other machines can reach, and without TLS anybody "
            "between could read keys and prompts",
            hint="set gateway.tls_cert_file and gateway.tls_key_file, or listen on 127.0.0.1",
        )


def tls_context(settings: GatewaySettings) -> ssl.SSLContext | None:
    """The server side of TLS; None where none is set.

    Raises:
        InvalidError: The certificate or its key cannot be read.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    except (OSError, ssl.SSLError) as error:
        raise InvalidError(
            "bad-certificate",
            f"the certificate {settings.tls_cert_file} with the key {settings.tls_key_file} cannot be used: {error}",
            hint="both must be PEM files, and the key must belong to the first certificate",
        ) from error
    return context
