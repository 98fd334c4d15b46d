"""Releases, the tags that point at them, promotions; and which release answered a request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "releases",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("model", sa.String(length=63), nullable=True),
        sa.Column("model_digest", sa.String(length=71), nullable=True),
        sa.Column("created_at", sa.String(length=24), nullable=False),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["model"], ["models.name"], name=op.f("fk_releases_model_models")),
        sa.PrimaryKeyConstraint("name", "number", name=op.f("pk_releases")),
    )
    op.create_index("ix_releases_model", "releases", ["model"], unique=False)
    op.create_table(
        "release_tags",
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("tag", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("moved_at", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(
            ["name", "number"], ["releases.name", "releases.number"], name="fk_release_tags_releases"
        ),
        sa.PrimaryKeyConstraint("name", "tag", name=op.f("pk_release_tags")),
    )
    op.create_table(
        "promotions",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("from_number", sa.Integer(), nullable=True),
        sa.Column("to_number", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("evidence", sa.JSON(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("started_at", sa.String(length=24), nullable=False),
        sa.Column("changed_at", sa.String(length=24), nullable=False),
        sa.Column("ended_at", sa.String(length=24), nullable=True),
        sa.Column("actor", sa.String(length=128), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
    )
    op.create_index("ix_promotions_name_id", "promotions", ["name", "id"], unique=False)
    op.add_column("usage", sa.Column("release", sa.Integer(), nullable=True))
    op.add_column("usage", sa.Column("signs", sa.JSON(), nullable=True))
    op.create_index("ix_usage_deployment_release_at", "usage", ["deployment", "release", "at"], unique=False)
