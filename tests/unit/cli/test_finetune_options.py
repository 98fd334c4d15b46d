"""What `undercroft optimize finetune` refuses before it looks at a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.cli.optimize_finetune import finetune
from undercroft.core.errors import InvalidError


@pytest.mark.parametrize(
    "options",
    [{"repeat": 2}, {"hold": 2.0}, {"rehearse": 3}, {"rehearse_from": Path("questions.jsonl"), "repeat": 2}],
    ids=lambda given: "-".join(given),
)
def test_how_it_rehearses_needs_what_it_rehearses(options: dict[str, object]) -> None:
    """Nothing is rehearsed without a number of questions and where they are, so how is not taken either."""
    with pytest.raises(InvalidError, match="expected --rehearse N and --rehearse-from FILE together"):
        finetune("pilot", Path("chat.jsonl"), "taught", **options)  # type: ignore[arg-type]
