"""Tokens that no engine told of are unknown, not 0: a request whose client went away before its answer."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("usage") as usage:
        usage.alter_column("prompt_tokens", existing_type=sa.Integer(), nullable=True)
        usage.alter_column("completion_tokens", existing_type=sa.Integer(), nullable=True)
