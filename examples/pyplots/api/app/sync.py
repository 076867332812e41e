"""Brings the database in line with the spec files, in one transaction.

Safety: an empty source is refused, since "delete what the source does not have" would empty the tables; and a file that
cannot be read keeps its row.
"""

from typing import Any

from sqlalchemy import Connection, delete
from sqlalchemy.dialects.postgresql import insert

from app.schema import implementations, specs
from app.source import Implementation, Source, Spec


class EmptySource(Exception):
    """The source has no spec at all."""


def synchronise(connection: Connection, source: Source) -> dict[str, Any]:
    """Write every readable spec, delete those without a file; may be repeated. Raises EmptySource."""
    if not source.ids:
        raise EmptySource("the source holds no specs; nothing was changed")
    for spec in source.specs:
        _write(connection, spec)
    gone = connection.execute(delete(specs).where(specs.c.id.not_in(source.ids)))
    return {"synced": len(source.specs), "deleted": gone.rowcount, "errors": source.errors}


def _write(connection: Connection, spec: Spec) -> None:
    row = {
        specs.c.id: spec.id,
        specs.c.title: spec.title,
        specs.c.description: spec.description,
        specs.c.tags: spec.tags,
        specs.c.data: spec.data,
    }
    connection.execute(insert(specs).values(row).on_conflict_do_update(index_elements=["id"], set_=row))
    for implementation in spec.implementations:
        _write_implementation(connection, spec, implementation)
    libraries = [implementation.library for implementation in spec.implementations]
    connection.execute(
        delete(implementations).where(
            implementations.c.spec_id == spec.id, implementations.c.library.not_in(libraries)
        )
    )


def _write_implementation(connection: Connection, spec: Spec, implementation: Implementation) -> None:
    row = {
        implementations.c.spec_id: spec.id,
        implementations.c.library: implementation.library,
        implementations.c.code: implementation.code,
        implementations.c.image_url: f"/plots/{spec.id}.svg",
        implementations.c.quality: implementation.quality,
        implementations.c.code_lines: len(implementation.code.splitlines()),
    }
    upsert = insert(implementations).values(row)
    connection.execute(upsert.on_conflict_do_update(index_elements=["spec_id", "library"], set_=row))
