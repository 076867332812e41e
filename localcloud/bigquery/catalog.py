"""Datasets and tables: what there is, under which name the engine keeps it, and how many bytes its columns hold.

Safety property: the engine's table is made before the record that names it, and dropped after; what an earlier process
left without a record is dropped at the next start.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from localcloud.bigquery import errors
from localcloud.bigquery.dialect import Kept, Name
from localcloud.bigquery.engine import Engine
from localcloud.bigquery.types import checked_schema
from localcloud.pages import page
from localcloud.store import Store

Document = dict[str, Any]
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
_TABLE = re.compile(r"[\w -]{1,1024}")
_PAGE, _MOST = 50, 1000
_DATASET_FIELDS = frozenset({"datasetReference", "location", "labels", "description", "friendlyName"})
_TABLE_FIELDS = frozenset({"tableReference", "schema", "labels", "description", "friendlyName", "type"})


class Filler(Protocol):
    """Who makes and fills tables behind the API, as a billing export does, when they are looked at."""

    def bring_up(self, name: Name) -> None:
        """Make and fill a table, where it is one of ours."""

    def names(self, project: str, dataset: str) -> list[Name]:
        """Our tables in a dataset."""


class Catalog:
    """Datasets and tables by project. A ``filler`` is asked before a table is looked at."""

    def __init__(self, store: Store, engine: Engine) -> None:
        self._store, self.engine = store, engine
        self._datasets = store.documents("bigquery.datasets")
        self._tables = store.documents("bigquery.tables")
        self.filler: Filler | None = None

    def remove_leftovers(self) -> None:
        """Drop what the engine keeps and no record names."""
        named = {document["inside"] for _, document in self._tables.list()}
        for inside in self.engine.names("tables") - named:
            self.engine.drop("tables", inside)

    def insert_dataset(self, project: str, given: Mapping[str, Any]) -> Document:
        _refuse_others(given, _DATASET_FIELDS, "Dataset")
        dataset = str((given.get("datasetReference") or {}).get("datasetId", ""))
        if not _DATASET.fullmatch(dataset):
            raise errors.invalid(f'Invalid dataset ID "{dataset}".')
        document = {"project": project, "dataset": dataset, "created": _now(), **_said(given)}
        document["location"] = given.get("location") or "US"
        with self._store.transaction():
            if self._datasets.get(f"{project}/{dataset}"):
                raise errors.exists(f"Dataset {project}:{dataset}")
            self._datasets.put(f"{project}/{dataset}", document)
        return document

    def dataset(self, project: str, dataset: str) -> Document:
        """Raises NotFound."""
        found = self._datasets.get(f"{project}/{dataset}")
        if found is None:
            raise errors.no_dataset(project, dataset)
        return found

    def datasets(self, project: str, size: int, token: str) -> tuple[list[Document], str]:
        found = [document for _, document in self._datasets.list(f"{project}/")]
        return page(found, size, token, default=_PAGE, most=_MOST)

    def delete_dataset(self, project: str, dataset: str, *, contents: bool) -> None:
        self.dataset(project, dataset)
        tables = [document for _, document in self._tables.list(f"{project}/{dataset}/")]
        if tables and not contents:
            raise errors.QueryError(f"Dataset {project}:{dataset} is still in use", "resourceInUse")
        for document in tables:
            self.delete_table(Name(project, dataset, document["table"]))
        self._datasets.delete(f"{project}/{dataset}")

    def insert_table(self, project: str, dataset: str, given: Mapping[str, Any]) -> Document:
        _refuse_others(given, _TABLE_FIELDS, "Table")
        name = Name(project, dataset, str((given.get("tableReference") or {}).get("tableId", "")))
        if not _TABLE.fullmatch(name.table):
            raise errors.invalid(f'Invalid table ID "{name.table}".')
        fields = checked_schema((given.get("schema") or {}).get("fields") or [])
        if not fields:
            raise errors.not_implemented("a table without a schema")
        return self.make(name, fields, _said(given))

    def make(self, name: Name, fields: list[dict[str, Any]], said: Mapping[str, Any]) -> Document:
        """Make an empty table. Raises AlreadyExists, NotFound."""
        self.dataset(name.project, name.dataset)
        if self._tables.get(_key(name)):
            raise errors.exists(f"Table {name.project}:{name.dataset}.{name.table}")
        inside = f"t{self._store.next('bigquery.tables')}"
        self.engine.create(inside, fields)
        document = {
            "project": name.project, "dataset": name.dataset, "table": name.table, "inside": inside, "fields": fields,
            "created": _now(), "modified": _now(), "sizes": {}, **said,
        }  # fmt: skip
        with self._store.transaction():
            if self._tables.get(_key(name)):
                raise errors.exists(f"Table {name.project}:{name.dataset}.{name.table}")
            self._tables.put(_key(name), document)
        return document

    def table(self, name: Name) -> Document:
        """Raises NotFound, of the dataset where that is missing."""
        if self.filler is not None:
            self.filler.bring_up(name)
        found = self._tables.get(_key(name))
        if found is None:
            self.dataset(name.project, name.dataset)
            raise errors.no_table(name.project, name.dataset, name.table)
        return found

    def inside(self, name: Name) -> str | None:
        """The name under which the engine keeps a table; None where there is none."""
        found = self._tables.get(_key(name))
        return found["inside"] if found else None

    def tables(self, project: str, dataset: str, size: int, token: str) -> tuple[list[Document], str]:
        self.dataset(project, dataset)
        if self.filler is not None:
            for name in self.filler.names(project, dataset):
                self.filler.bring_up(name)
        found = [document for _, document in self._tables.list(f"{project}/{dataset}/")]
        return page(found, size, token, default=_PAGE, most=_MOST)

    def delete_table(self, name: Name) -> None:
        found = self.table(name)
        self._tables.delete(_key(name))
        self.engine.drop("tables", found["inside"])

    def insert_rows(self, name: Name, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows of JSON. Raises InvalidArgument where one does not fit; then none is added."""
        found = self.table(name)
        self.engine.insert(found["inside"], found["fields"], rows)
        self.changed(name)

    def changed(self, name: Name) -> None:
        """Forget what was measured of a table: its rows have changed."""
        with self._store.transaction():
            found = self._tables.get(_key(name))
            if found is not None:
                self._tables.put(_key(name), {**found, "modified": _now(), "sizes": {}})

    def kept(self, name: Name) -> Kept:
        """A table as a query needs it. Raises NotFound."""
        found = self.table(name)
        return Kept(found["inside"], tuple(field["name"] for field in found["fields"]))

    def bytes(self, name: Name, columns: Sequence[str]) -> int:
        """The logical bytes of some columns; measured once for each state of the table."""
        found = self.table(name)
        sizes = dict(found["sizes"])
        missing = [field for field in found["fields"] if field["name"] in columns and field["name"] not in sizes]
        if missing:
            sizes |= self.engine.sizes(found["inside"], missing)
            self._remember(name, found["modified"], sizes)
        return sum(sizes[column] for column in columns)

    def _remember(self, name: Name, modified: str, sizes: dict[str, int]) -> None:
        with self._store.transaction():
            now = self._tables.get(_key(name))
            if now is not None and now["modified"] == modified:
                self._tables.put(_key(name), {**now, "sizes": {**now["sizes"], **sizes}})


def _key(name: Name) -> str:
    return f"{name.project}/{name.dataset}/{name.table}"


def _now() -> str:
    """Milliseconds since the epoch, as the API writes them; never the same twice in a row for one table's changes."""
    return str(time.time_ns() // 1_000_000)


def _said(given: Mapping[str, Any]) -> Document:
    return {name: given[name] for name in ("labels", "description", "friendlyName") if given.get(name)}


def _refuse_others(given: Mapping[str, Any], known: frozenset[str], kind: str) -> None:
    """A field that would not be honoured (partitioning, clustering, expiry, views) is refused by name."""
    for field, value in given.items():
        if field not in known and value not in (None, "", [], {}, False) and field not in ("kind", "id", "etag"):
            raise errors.not_implemented(f"{kind}.{field}")
