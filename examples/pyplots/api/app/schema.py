"""The tables as this version of the code needs them: the schema at the newest revision in ``migrations``."""

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Identity, Index, MetaData, Table, Text, UniqueConstraint
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

metadata = MetaData()

specs = Table(
    "specs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("tags", ARRAY(Text), nullable=False, server_default="{}"),
    Column("data", JSONB, nullable=False, server_default="{}"),
    Column("added_at", TIMESTAMP(timezone=True), nullable=False, server_default="now()"),
    Index("ix_specs_tags", "tags", postgresql_using="gin"),
)

implementations = Table(
    "implementations",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("spec_id", Text, ForeignKey("specs.id", ondelete="CASCADE"), nullable=False),
    Column("library", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("image_url", Text),
    Column("quality", Double),
    Column("code_lines", BigInteger),
    UniqueConstraint("spec_id", "library", name="uq_implementations_spec_library"),
    Index("ix_implementations_library", "library"),
)
