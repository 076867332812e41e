"""``preview_url`` is called ``image_url`` from now on.

A rename: code from before this revision does not work after it, and the other way round.
"""

from alembic import op

revision = "0004_image_url"
down_revision = "0003_indexes"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column("implementations", "preview_url", new_column_name="image_url")


def downgrade() -> None:
    op.alter_column("implementations", "image_url", new_column_name="preview_url")
