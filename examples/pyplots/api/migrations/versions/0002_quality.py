"""How good an implementation is, from 0 to 100.

Additive: the old code does not see it. The downgrade drops the column and what is in it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002_quality"
down_revision = "0001_initial"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("implementations", sa.Column("quality", sa.Double))


def downgrade() -> None:
    op.drop_column("implementations", "quality")
