"""What a flow is started with: the base of every parameter model, and the fields that several of them have.

Prefect draws the run form in its UI from the model's JSON schema. Safety property: an unknown field is refused, so that
a misspelt one never passes for its default.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field


def in_order(schema: dict[str, Any]) -> None:
    """Number the fields: the form shows them by ``position``, and else in the order of the database that kept them."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class Form(BaseModel):
    """What a person decides about a run."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order)


#: Cloud Run's own rule for the names of services and revisions, or nothing.
RunName = Annotated[str, Field(pattern=r"^([a-z]([a-z0-9-]{0,61}[a-z0-9])?)?$")]
ServiceName = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$")]
ServiceNames = Annotated[tuple[ServiceName, ...], Field(max_length=50)]
DatabaseName = Annotated[str, Field(max_length=63)]
