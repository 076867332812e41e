"""How many lines of code an implementation has, filled in for those that are there.

In batches, each its own transaction, with a pause between them: one UPDATE over the whole table would hold its row locks
to the end and leave a dead copy of every row at once. It takes a while on a large table. Broken off, it goes on where it was.
"""

import time

import sqlalchemy as sa
from alembic import context, op

revision = "0006_code_lines"
down_revision = "0005_drop_notes"
branch_labels = None
depends_on = None

BATCH = 1000
PAUSE_SECONDS = 0.05
LINES = r"regexp_count(code, '\n') + CASE WHEN right(code, 1) = E'\n' THEN 0 ELSE 1 END"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.add_column("implementations", sa.Column("code_lines", sa.BigInteger), if_not_exists=True)
        if context.is_offline_mode():
            op.execute(f"UPDATE implementations SET code_lines = {LINES} WHERE code_lines IS NULL")
        else:
            fill_in(op.get_bind())


def fill_in(connection: sa.Connection) -> None:
    batch = sa.text(
        f"UPDATE implementations SET code_lines = {LINES} WHERE id IN"
        " (SELECT id FROM implementations WHERE code_lines IS NULL ORDER BY id LIMIT :batch)"
    )
    while connection.execute(batch, {"batch": BATCH}).rowcount == BATCH:
        time.sleep(PAUSE_SECONDS)


def downgrade() -> None:
    op.drop_column("implementations", "code_lines")
