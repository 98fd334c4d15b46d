"""What users say of answers: a rating in the row of the request, found by the request's id."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("usage", sa.Column("rating", sa.String(length=4), nullable=True))
    op.add_column("usage", sa.Column("rated_at", sa.String(length=24), nullable=True))
    op.create_index("ix_usage_request_id", "usage", ["request_id"], unique=False)
    is_rated = sa.text("rating IS NOT NULL")
    op.create_index(
        "ix_usage_rated",
        "usage",
        ["deployment", "release", "at"],
        unique=False,
        sqlite_where=is_rated,
        postgresql_where=is_rated,
    )
