"""A believable bill of an application on Cloud Run: how much of each SKU is used on each day.

Seeded: the same seed and first day give the same bill, day for day, however far it is read. Traffic has a weekday's
shape, a growth, and a drift that comes back (AR 1); each SKU has noise of its own and now and then changes its level
for good; and anomalies are planted, from the seed or by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np

DAY = timedelta(days=1)
#: How much of yesterday's deviation is left today, and what a day adds to it.
_DRIFT_KEPT, _DRIFT_STEP = 0.85, 0.03
#: The most restless bill moves so many times as much from day to day as the calmest.
_MOST_UNREST = 4.0
_STEP_CHANCE = 1 / 150
_ANOMALY_CHANCE = 1 / 60


@dataclass(frozen=True)
class Sku:
    """One SKU: its names, the units and price, what a day uses of it, and how it behaves.

    ``every`` is of how many hours a line is; ``discount`` is the share of its cost that comes back as a credit.
    ``base`` is how many usage units one pricing unit is. ``traffic``: it follows the application's requests.
    """

    service: str
    service_id: str
    name: str
    sku_id: str
    unit: str
    pricing_unit: str
    base: float
    price: float
    amount: float
    every: int = 1
    noise: float = 0.03
    traffic: bool = False
    discount: float = 0.0
    credit: str = ""
    labelled: bool = True
    monthly: bool = False


_RUN, _SQL, _GCS = ("Cloud Run", "152E-C115-5142"), ("Cloud SQL", "9662-B51E-5089"), ("Cloud Storage", "95FF-2EF5-5EA1")
_LOG, _AR, _BUILD = ("Cloud Logging", "5490-F7B7-8DF6"), ("Artifact Registry", "149C-F9EC-3994"), (
    "Cloud Build", "2B5D-8C3F-11A0")  # fmt: skip
_NET, _SEC, _SUP = ("Networking", "E505-1604-58F8"), ("Secret Manager", "EE82-7A5E-871C"), ("Support", "2062-016F-44A2")
_GIB = float(2**30)
#: A gibibyte and month in byte-seconds: what storage is used in, and priced by.
_GIB_MONTH = _GIB * 2_628_000

SKUS: tuple[Sku, ...] = (
    Sku(*_RUN, "Services CPU (Request-based billing)", "A001-CB01-0001", "seconds", "second", 1, 0.000024, 160_000,
        traffic=True, noise=0.04, discount=0.17, credit="COMMITTED_USAGE_DISCOUNT"),
    Sku(*_RUN, "Services Memory (Request-based billing)", "A001-CB01-0002", "byte-seconds", "gibibyte second", _GIB,
        0.0000025, 200_000, traffic=True, noise=0.04),
    Sku(*_RUN, "Requests", "A001-CB01-0003", "requests", "count", 1, 0.0000004, 1_600_000, traffic=True,
        discount=0.04, credit="FREE_TIER"),
    Sku(*_RUN, "Jobs CPU", "A001-CB01-0004", "seconds", "second", 1, 0.000018, 9_000, every=4, noise=0.1),
    Sku(*_SQL, "Cloud SQL for PostgreSQL: Zonal - vCPU in Netherlands", "B002-50AA-0001", "seconds", "hour", 3600,
        0.0413, 48, noise=0.0, discount=0.25, credit="COMMITTED_USAGE_DISCOUNT"),
    Sku(*_SQL, "Cloud SQL for PostgreSQL: Zonal - RAM in Netherlands", "B002-50AA-0002", "byte-seconds",
        "gibibyte hour", _GIB * 3600, 0.007, 180, noise=0.0),
    Sku(*_SQL, "Cloud SQL for PostgreSQL: Zonal - Standard storage", "B002-50AA-0003", "byte-seconds",
        "gibibyte month", _GIB_MONTH, 0.17, 2.6, every=24, noise=0.002),
    Sku(*_SQL, "Cloud SQL: Backups in Netherlands", "B002-50AA-0004", "byte-seconds", "gibibyte month", _GIB_MONTH,
        0.08, 4.1, every=24, noise=0.01),
    Sku(*_GCS, "Standard Storage Netherlands", "C003-6C50-0001", "byte-seconds", "gibibyte month", _GIB_MONTH, 0.02,
        24.0, every=24, noise=0.002),
    Sku(*_GCS, "Regional Standard Class A Operations", "C003-6C50-0002", "requests", "count", 1, 0.000005, 42_000,
        traffic=True, noise=0.08),
    Sku(*_GCS, "Regional Standard Class B Operations", "C003-6C50-0003", "requests", "count", 1, 0.0000004,
        1_100_000, traffic=True, noise=0.08),
    Sku(*_NET, "Network Internet Data Transfer Out from Netherlands to EMEA", "D004-AE70-0001", "bytes", "gibibyte",
        _GIB, 0.085, 14.0, traffic=True, noise=0.06),
    Sku(*_LOG, "Log Storage cost", "E005-1066-0001", "bytes", "gibibyte", _GIB, 0.5, 2.2, traffic=True, noise=0.07,
        labelled=False),
    Sku(*_AR, "Artifact Registry Storage", "F006-A271-0001", "byte-seconds", "gibibyte month", _GIB_MONTH, 0.1, 1.9,
        every=24, noise=0.01, labelled=False),
    Sku(*_BUILD, "Build time on E2_STANDARD_2", "0007-B71D-0001", "seconds", "minute", 60, 0.006, 70, every=4,
        noise=0.25, labelled=False),
    Sku(*_SEC, "Secret version replica storage", "0008-5EC2-0001", "seconds", "month", 2_628_000, 0.06, 0.4, every=24,
        noise=0.0, labelled=False),
    Sku(*_SEC, "Secret access operations", "0008-5EC2-0002", "requests", "count", 1, 0.000003, 4_000, noise=0.1,
        labelled=False),
    Sku(*_SUP, "Standard support", "0009-50F0-0001", "months", "month", 1, 27.0, 1.0, every=24, noise=0.0,
        labelled=False, monthly=True),
)  # fmt: skip


@dataclass(frozen=True)
class Planted:
    """An anomaly: from ``first`` on, for so many days, a SKU's use is multiplied by ``factor``."""

    sku: str
    first: date
    days: int
    factor: float


@dataclass(frozen=True)
class Bill:
    """One seeded bill from its first day on. ``planted`` come on top of the seed's own, or instead of them."""

    seed: int
    since: date
    planted: tuple[Planted, ...] = ()
    random_anomalies: bool = True

    def amounts(self, days: int) -> Any:
        """How many pricing units of each SKU the first ``days`` days use: an array of days × SKUs."""
        used = self._levels(days)
        for one in self.anomalies(days):
            first = (one.first - self.since).days
            used[max(0, first) : max(0, first + one.days), _index(one.sku)] *= one.factor
        return used

    def anomalies(self, days: int) -> tuple[Planted, ...]:
        """Every anomaly that begins in the first ``days`` days, the seed's own first."""
        return (*self._of_seed(days), *self.planted) if self.random_anomalies else self.planted

    def costs(self, days: int) -> Any:
        """What each day costs before credits, about: lines have noise of their own."""
        return self.amounts(days) @ np.array([sku.price for sku in SKUS])

    def _levels(self, days: int) -> Any:
        character = np.random.default_rng([self.seed, 0])
        growth = character.uniform(-0.02, 0.05)
        weekend = character.uniform(0.6, 0.95)
        scale = np.exp(character.normal(0, 0.25, len(SKUS)))
        unrest = np.exp(character.uniform(0, np.log(_MOST_UNREST)))
        noise = np.array([sku.noise for sku in SKUS]) * unrest
        traffic = np.array([sku.traffic for sku in SKUS])
        drawn = self._draws(days)
        shared = self._drift(drawn[:, 0] * unrest) + np.arange(days) / 30 * np.log1p(growth)
        shared += np.where(self._weekdays(days) >= 5, np.log(weekend), 0.0)
        logs = drawn[:, 1 : 1 + len(SKUS)] * noise + np.where(traffic, shared[:, None], 0.0) + self._steps(days)
        used = np.array([sku.amount for sku in SKUS]) * scale * np.exp(logs)
        monthly = np.array([sku.monthly for sku in SKUS])
        first = np.array([(self.since + n * DAY).day == 1 for n in range(days)])
        fixed = np.where(first[:, None], np.array([sku.amount for sku in SKUS]), 0.0)
        return np.where(monthly, fixed, used)

    def _draws(self, days: int) -> Any:
        """Standard normal numbers for each day by itself, so that a bill can be read on from any day."""
        start = self.since.toordinal()
        return np.stack([
            np.random.default_rng([self.seed, start + n]).standard_normal(1 + len(SKUS)) for n in range(days)
        ])  # fmt: skip

    def _drift(self, steps: Any) -> Any:
        drift, now = np.zeros(len(steps)), 0.0
        for n, step in enumerate(steps):
            now = _DRIFT_KEPT * now + _DRIFT_STEP * step
            drift[n] = now
        return drift

    def _steps(self, days: int) -> Any:
        """Changes of level that stay: a new instance size, a cache, a new feature."""
        found = np.zeros((days, len(SKUS)))
        for n in range(days):
            chance = np.random.default_rng([self.seed, 1, self.since.toordinal() + n])
            if chance.random() < _STEP_CHANCE:
                found[n:, chance.integers(len(SKUS))] += chance.uniform(np.log(0.75), np.log(1.4))
        return found

    def _of_seed(self, days: int) -> tuple[Planted, ...]:
        found = []
        for n in range(days):
            chance = np.random.default_rng([self.seed, 2, self.since.toordinal() + n])
            if chance.random() < _ANOMALY_CHANCE:
                able = [sku for sku in SKUS if sku.traffic]
                sku = able[int(chance.integers(len(able)))].name
                length, factor = int(chance.integers(1, 4)), float(chance.uniform(1.6, 4.0))
                found.append(Planted(sku, self.since + n * DAY, length, factor))
        return tuple(found)

    def _weekdays(self, days: int) -> Any:
        return (self.since.weekday() + np.arange(days)) % 7


def _index(name: str) -> int:
    """A SKU's place. Raises ValueError for a name that is none."""
    for index, sku in enumerate(SKUS):
        if sku.name == name:
            return index
    raise ValueError(f"there is no SKU {name}")
