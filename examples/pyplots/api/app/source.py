"""The specs as files: ``specs/<id>.toml`` in the application's folder, the source of truth of what plots exist."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

SPECS_FOLDER = Path(__file__).parent.parent / "specs"


class Implementation(BaseModel):
    """How one library draws the plot."""

    model_config = ConfigDict(extra="forbid")

    library: str
    quality: float = Field(ge=0, le=100)
    code: str = Field(min_length=1)


class Spec(BaseModel):
    """One kind of plot, with the data of its picture."""

    model_config = ConfigDict(extra="forbid")

    id: str
    title: str
    description: str
    tags: list[str] = []
    data: dict[str, Any]
    implementations: list[Implementation] = Field(min_length=1)


class Source(BaseModel):
    """What the folder holds: readable specs, every id that has a file, and what is wrong with the other files."""

    specs: list[Spec]
    ids: list[str]
    errors: list[str]


def read_source(folder: Path = SPECS_FOLDER) -> Source:
    """Read all specs. An unreadable file is an error of its own and does not hide the others."""
    source = Source(specs=[], ids=[], errors=[])
    for path in sorted(folder.glob("*.toml")):
        source.ids.append(path.stem)
        try:
            source.specs.append(_read(path))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError, ValueError) as error:
            source.errors.append(f"{path.name}: {error}")
    return source


def _read(path: Path) -> Spec:
    spec = Spec.model_validate(tomllib.loads(path.read_text("utf-8")))
    if spec.id != path.stem:
        raise ValueError(f"the id is {spec.id!r}, the file's name says {path.stem!r}")
    return spec
