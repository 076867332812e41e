"""Specs, and the implementations of each.

The downgrade drops everything.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision = "0001_initial"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "specs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("tags", ARRAY(sa.Text), nullable=False, server_default="{}"),
        sa.Column("data", JSONB, nullable=False, server_default="{}"),
        sa.Column("notes", sa.Text),
        sa.Column("added_at", TIMESTAMP(timezone=True), nullable=False, server_default=sa.text("now()")),
    )
    op.create_table(
        "implementations",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("spec_id", sa.Text, sa.ForeignKey("specs.id", ondelete="CASCADE"), nullable=False),
        sa.Column("library", sa.Text, nullable=False),
        sa.Column("code", sa.Text, nullable=False),
        sa.Column("preview_url", sa.Text),
        sa.UniqueConstraint("spec_id", "library", name="uq_implementations_spec_library"),
    )


def downgrade() -> None:
    op.drop_table("implementations")
    op.drop_table("specs")
