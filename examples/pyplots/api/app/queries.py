"""What is read from the database. Only columns that ``schema`` names are asked for, so the schema may have more."""

from typing import Any

from sqlalchemy import Connection, func, select

from app.schema import implementations, specs


def all_specs(connection: Connection) -> list[dict[str, Any]]:
    """Every spec in the order of its title, with the libraries that draw it."""
    libraries = (
        select(func.array_agg(implementations.c.library.distinct()))
        .where(implementations.c.spec_id == specs.c.id)
        .scalar_subquery()
    )
    query = select(
        specs.c.id,
        specs.c.title,
        specs.c.description,
        specs.c.tags,
        specs.c.data,
        func.coalesce(libraries, []).label("libraries"),
    )
    return [dict(row) for row in connection.execute(query.order_by(specs.c.title)).mappings()]


def one_spec(connection: Connection, spec_id: str) -> dict[str, Any] | None:
    """One spec with its implementations, best first; None when there is no such spec."""
    query = select(specs.c.id, specs.c.title, specs.c.description, specs.c.tags, specs.c.data)
    spec = connection.execute(query.where(specs.c.id == spec_id)).mappings().first()
    return spec and {**spec, "implementations": _implementations(connection, spec_id)}


def _implementations(connection: Connection, spec_id: str) -> list[dict[str, Any]]:
    query = select(
        implementations.c.library,
        implementations.c.code,
        implementations.c.image_url,
        implementations.c.quality,
        implementations.c.code_lines,
    ).where(implementations.c.spec_id == spec_id)
    rows = [dict(row) for row in connection.execute(query.order_by(implementations.c.library)).mappings()]
    return sorted(rows, key=lambda row: -(row.get("quality") or 0))
