"""What the weekly review is told of logs: whose week it is, what a gigabyte costs, what is muted."""

from __future__ import annotations

from typing import Annotated, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, model_validator

from tasks.estate.costs import TableName
from tasks.models import Frozen


def _known_zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name} is no time zone; write one as Europe/Berlin")
    return name


class Price(Frozen):
    """What a GiB of stored logs costs."""

    per_gib: float = Field(0.50, ge=0)
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "USD"


class Review(Frozen):
    """The review of logs. A week begins on Monday in ``time_zone``.

    ``marks`` is a file beside the estate's: the patterns that are muted or marked resolved. ``log_filter``, in Google's
    query language, leaves out what is not to be read. ``most_entries`` bounds the reading: 30,000 entries take a minute
    of the API's quota, of which ``calls_per_minute`` are ours: Google allows a project 60 unless it was given more, and
    every estate and worker with the same ledger shares them. ``price`` is Cloud Logging's for what is stored.

    ``log_dataset`` is the view of a Log Analytics bucket's linked dataset, ``project.dataset._AllLogs``. Where it is
    named, logs are read there by one query, which may read no more than ``maximum_bytes_billed``.
    """

    time_zone: Annotated[str, AfterValidator(_known_zone)] = "Europe/Berlin"
    marks: str = "review-marks.toml"
    log_filter: str = ""
    most_entries: int = Field(5_000_000, ge=1000)
    calls_per_minute: int = Field(30, ge=1, le=6000)
    price: Price = Price()
    log_dataset: TableName | None = None
    maximum_bytes_billed: int = Field(100_000_000_000, ge=10_485_760)

    @model_validator(mode="after")
    def _one_language(self) -> Self:
        if self.log_dataset and self.log_filter:
            raise ValueError("log_filter is of Cloud Logging and log_dataset of BigQuery: leave one of them out")
        return self
