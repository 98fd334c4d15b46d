"""Where the door may listen."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.core.errors import InvalidError, RefusedError
from undercroft.core.settings import GatewaySettings
from undercroft.serving.listening import check_listening, is_loopback, tls_context, url_of

_CERT, _KEY = Path("/tmp/cert.pem"), Path("/tmp/key.pem")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_tls(host: str) -> None:
    """Nobody else can listen in there."""
    assert is_loopback(host)
    check_listening(GatewaySettings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "models.example", "", "127.0.0.1.evil.example"])
def test_a_public_address_needs_tls(host: str) -> None:
    """Without it the door does not open; with it, it does."""
    with pytest.raises(RefusedError) as caught:
        check_listening(GatewaySettings(host=host))
    assert caught.value.code == "public-without-tls"
    assert "tls_cert_file" in (caught.value.hint or "")
    check_listening(GatewaySettings(host=host, tls_cert_file=_CERT, tls_key_file=_KEY))


def test_half_of_tls_is_a_mistake() -> None:
    """A certificate without its key, or the other way round, names what is missing."""
    with pytest.raises(InvalidError, match=r"gateway\.tls_key_file is not set"):
        check_listening(GatewaySettings(tls_cert_file=_CERT))
    with pytest.raises(InvalidError, match=r"gateway\.tls_cert_file is not set"):
        check_listening(GatewaySettings(tls_key_file=_KEY))


def test_a_certificate_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Both files are in the message, with what to check."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert.write_text("nonsense")
    key.write_text("nonsense")
    with pytest.raises(InvalidError, match=r"cert\.pem"):
        tls_context(GatewaySettings(tls_cert_file=cert, tls_key_file=key))
    assert tls_context(GatewaySettings()) is None


def test_addresses_as_clients_write_them() -> None:
    """Scheme and brackets as they belong."""
    assert url_of(GatewaySettings(host="::1", port=9)) == "http://[::1]:9"
    assert url_of(GatewaySettings(tls_cert_file=_CERT, tls_key_file=_KEY)) == "https://127.0.0.1:8440"
