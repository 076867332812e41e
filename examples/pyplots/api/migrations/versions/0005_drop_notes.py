"""Drops ``specs.notes``, which no code has read for long.

Loses data: the downgrade brings the column back, empty.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005_drop_notes"
down_revision = "0004_image_url"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_column("specs", "notes")


def downgrade() -> None:
    op.add_column("specs", sa.Column("notes", sa.Text))
