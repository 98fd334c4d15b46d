"""Who is suspected, cleared and refused."""

from __future__ import annotations

import hashlib

from undercroft.gateway.door.quarantine import Quarantine, request_digest


def test_a_digest_is_over_route_and_body() -> None:
    """Anybody can compute it again."""
    assert request_digest("/v1/x", b"{}") == hashlib.sha256(b"/v1/x\n{}").hexdigest()


def test_two_breaks_and_it_is_refused() -> None:
    """One strike is a suspicion, the second one from another break is enough."""
    quarantine = Quarantine()
    assert not quarantine.strike("r", b"bad", "rep#1")
    assert quarantine.is_suspect("r", b"bad")
    assert quarantine.refused_digest("r", b"bad") is None
    assert quarantine.strike("r", b"bad", "rep#2")
    assert quarantine.refused_digest("r", b"bad") == request_digest("r", b"bad")
    assert not quarantine.is_suspect("r", b"bad")


def test_one_break_counts_once() -> None:
    """All connections of a replica that broke tell of the same break."""
    quarantine = Quarantine()
    assert not quarantine.strike("r", b"bad", "rep#1")
    assert not quarantine.strike("r", b"bad", "rep#1")


def test_an_answer_clears() -> None:
    """A bystander that is answered at its second try starts again from nothing."""
    quarantine = Quarantine()
    quarantine.strike("r", b"good", "rep#1")
    quarantine.answered("r", b"good")
    assert not quarantine.is_suspect("r", b"good")
    assert not quarantine.strike("r", b"good", "rep#2")
    assert quarantine.refused_digest("r", b"good") is None


def test_what_was_answered_lately_gets_no_strike() -> None:
    """A request that was answered before cannot be what ends the engine now."""
    quarantine = Quarantine()
    quarantine.answered("r", b"probe")
    for number in range(5):
        assert not quarantine.strike("r", b"probe", f"rep#{number}")
    assert not quarantine.is_suspect("r", b"probe")


def test_routes_are_told_apart() -> None:
    """The same body on another route is another request."""
    quarantine = Quarantine()
    quarantine.answered("a", b"x")
    assert not quarantine.strike("b", b"x", "rep#1")
    assert quarantine.is_suspect("b", b"x")


def test_what_control_tells_holds_until_it_tells_otherwise() -> None:
    """An administrator who lifts the quarantine is heard."""
    quarantine = Quarantine()
    quarantine.strike("r", b"x", "rep#1")
    quarantine.strike("r", b"x", "rep#2")
    digest = request_digest("r", b"x")
    quarantine.tell(frozenset())
    assert quarantine.refused_digest("r", b"x") == digest
    quarantine.tell(frozenset({digest}))
    assert quarantine.refused_digest("r", b"x") == digest
    quarantine.tell(frozenset())
    assert quarantine.refused_digest("r", b"x") is None


def test_memory_is_bounded() -> None:
    """However many requests there are, the newest thousands are remembered and the oldest forgotten."""
    quarantine = Quarantine()
    for number in range(5000):
        quarantine.answered("r", b"%d" % number)
        quarantine.strike("s", b"%d" % number, "rep#1")
    assert not quarantine.is_suspect("s", b"0")
    assert quarantine.is_suspect("s", b"4999")
    assert not quarantine.strike("r", b"0", "rep#1")
    assert quarantine.is_suspect("r", b"0")
