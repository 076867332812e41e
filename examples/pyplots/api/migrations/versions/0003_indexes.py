"""Indexes for finding specs by tag and implementations by library.

Concurrently, so outside of a transaction: writers go on while they are built. A build that was broken off leaves an
invalid index behind, so the name is dropped first and the revision can be run again.
"""

from alembic import op

revision = "0003_indexes"
down_revision = "0002_quality"
branch_labels = None
depends_on = None


def upgrade() -> None:
    downgrade()
    with op.get_context().autocommit_block():
        op.create_index("ix_specs_tags", "specs", ["tags"], postgresql_using="gin", postgresql_concurrently=True)
        op.create_index("ix_implementations_library", "implementations", ["library"], postgresql_concurrently=True)


def downgrade() -> None:
    with op.get_context().autocommit_block():
        op.drop_index("ix_implementations_library", "implementations", if_exists=True, postgresql_concurrently=True)
        op.drop_index("ix_specs_tags", "specs", if_exists=True, postgresql_concurrently=True)
