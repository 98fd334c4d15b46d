"""What was written is compared with its source, and what is too far from it is no result."""

from __future__ import annotations

import numpy as np
import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.quantization.losses import Loss, check_loss, compare, limit_of

_RANDOM = np.random.default_rng(0)


def test_the_loss_is_the_share_of_the_root_mean_square() -> None:
    """Counted over pieces of any length."""
    source = _RANDOM.standard_normal(10_001, dtype=np.float32)
    loss = compare(source, source * np.float32(0.9))
    loss.add(compare(source, source.copy()))
    assert loss.relative == pytest.approx(0.1 / 2**0.5, rel=1e-4)
    assert loss.elements == 20_002


@pytest.mark.parametrize("kind", ["F16", "Q8_0", "Q6_K", "Q4_K", "Q3_K", "IQ2_XXS", "IQ1_S"])
def test_zeros_other_weights_and_rows_out_of_place_are_found(kind: str) -> None:
    """Whatever the type."""
    source = _RANDOM.standard_normal(8192, dtype=np.float32)
    for wrong in (np.zeros_like(source), _RANDOM.standard_normal(8192, dtype=np.float32), np.roll(source, 256)):
        with pytest.raises(InvalidError, match=r"blk\.0"):
            check_loss("blk.0.ffn_up.weight", kind, compare(source, wrong.copy()))


def test_more_bits_may_lose_less() -> None:
    """The limits fall with the bits."""
    limits = [limit_of(kind) for kind in ("IQ1_S", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "F16")]
    assert limits == sorted(limits, reverse=True)
    assert len(set(limits)) == len(limits)


def test_a_tensor_that_says_nothing_may_become_nothing() -> None:
    """Zeros stay zeros, and what no scale can hold may be dropped, but not blown up."""
    check_loss("a", "Q4_K", Loss(0.0, 0.0, 256))
    faint = np.full(256, 1e-9, np.float32)
    check_loss("a", "Q4_K", compare(faint, np.zeros_like(faint)))
    with pytest.raises(InvalidError):
        check_loss("a", "Q4_K", compare(faint, np.ones_like(faint)))
    with pytest.raises(InvalidError):
        check_loss("a", "Q4_K", compare(np.zeros(256, np.float32), np.ones(256, np.float32)))


def test_no_number_is_no_small_loss() -> None:
    """A comparison with what is not a number is false, which must not let it pass."""
    source = np.ones(256, np.float32)
    with pytest.raises(InvalidError):
        check_loss("a", "IQ1_S", compare(source, np.full(256, np.nan, np.float32)))


def test_what_a_matrix_calls_unimportant_may_be_lost() -> None:
    """Columns that no text excites may become zeros; without a matrix, or with other weights, that is no excuse."""
    source = _RANDOM.standard_normal((8, 256), dtype=np.float32)
    importance = np.zeros(256, np.float32)
    importance[:32] = 1.0
    without = source.copy()
    without[:, 32:] = 0.0
    check_loss("a", "Q4_K", compare(source, without.copy(), importance))
    with pytest.raises(InvalidError):
        check_loss("a", "Q4_K", compare(source, without.copy()))
    with pytest.raises(InvalidError):
        check_loss("a", "Q4_K", compare(source, without[::-1].copy(), importance))
