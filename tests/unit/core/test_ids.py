"""Names, digests, keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.core.errors import InvalidError
from undercroft.core.ids import (
    KEY_PATTERN,
    NAME_PATTERN,
    check_digest,
    check_name,
    name_from,
    new_api_key,
    new_id,
    secret_digest,
)


@pytest.mark.parametrize("name", ["a", "support-7b", "qwen2.5-0.5b_q4", "a" * 63])
def test_usable_names_pass(name: str) -> None:
    """Lower case, digits, dots, underscores and dashes, 1 to 63 characters."""
    assert check_name(name, what="model") == name


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", "a..b", "-a", "a-", ".a", "a" * 64, "a b", "a\n", "ä", "a\0"])
def test_hostile_and_odd_names_are_refused(name: str) -> None:
    """Nothing that could leave a folder, hide, or look like an option becomes a name."""
    with pytest.raises(InvalidError, match="model name"):
        check_name(name, what="model")


@given(st.text(max_size=200))
def test_a_derived_name_is_usable_or_empty(text: str) -> None:
    """Whatever a file is called, the name made of it passes the check or there is none."""
    name = name_from(text)
    assert not name or NAME_PATTERN.fullmatch(name)


def test_keys_have_their_documented_form_and_differ() -> None:
    """`uc-` and 43 URL-safe characters, never the same twice."""
    made = {new_api_key() for _ in range(100)}
    assert len(made) == 100
    assert all(KEY_PATTERN.fullmatch(key) for key in made)


def test_a_secret_digest_is_sha256_hex() -> None:
    """The known digest of a known text."""
    assert secret_digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:" + "A" * 64, "sha256:../../etc/passwd", "md5:" + "0" * 64])
def test_hostile_digests_are_refused(digest: str) -> None:
    """Only `sha256:` and 64 lower-case hex digits pass."""
    with pytest.raises(InvalidError, match="sha256"):
        check_digest(digest)


def test_ids_carry_their_kind() -> None:
    """An id says what it names."""
    assert new_id("rep").startswith("rep_")
    assert len(new_id("rep")) == 16
