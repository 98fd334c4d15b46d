"""What Alembic runs: the connection comes from `undercroft.storage.migrations.upgrade`."""

from __future__ import annotations

from alembic import context

from undercroft.storage.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
context.run_migrations()
