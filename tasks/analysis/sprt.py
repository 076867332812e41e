"""Wald's sequential probability ratio test: is a revision's error rate acceptable, or unacceptable?

Safety property: the two error rates are promised, not approximated. Wald's own boundaries, (1 - beta) / alpha and
beta / (1 - alpha), hold only as far as the ratio does not overshoot them; with 1 / alpha and beta the promise holds
whatever the overshoot and however often one looks, since the likelihood ratio is a martingale (Ville's inequality:
P(it ever reaches 1 / alpha) <= alpha). The price is about one request in a hundred.

A. Wald, Sequential Tests of Statistical Hypotheses, 1945, https://doi.org/10.1214/aoms/1177731118; J. Ville, 1939, in
modern words: https://en.wikipedia.org/wiki/Ville%27s_inequality.
"""

from __future__ import annotations

import math
from typing import Literal

Verdict = Literal["healthy", "unhealthy", "undecided"]


class Sprt:
    """The test of ``acceptable`` against ``unacceptable``, as shares of requests that fail.

    ``alpha`` bounds the chance that an acceptable revision is ever called unhealthy, ``beta`` the chance that an
    unacceptable one is ever called healthy. Unhealthy is final; healthy is not: it may yet be withdrawn.
    """

    def __init__(self, acceptable: float, unacceptable: float, alpha: float, beta: float) -> None:
        if not (0 < acceptable < unacceptable < 1 and 0 < alpha < 1 and 0 < beta < 1):
            raise ValueError(f"no test of {acceptable} against {unacceptable} at alpha {alpha} and beta {beta}")
        self.unhealthy_at, self.healthy_at = -math.log(alpha), math.log(beta)
        self._per_failure = math.log(unacceptable / acceptable)
        self._per_success = math.log((1 - unacceptable) / (1 - acceptable))
        self.requests = self.failures = 0
        self._condemned = False

    def observe(self, ok: bool) -> None:
        """Take one answer into account."""
        self.observe_many(1, 0 if ok else 1)

    def observe_many(self, requests: int, failures: int) -> None:
        """Take a batch of answers into account; the test looks once, at its end."""
        self.requests += requests
        self.failures += failures
        self._condemned = self._condemned or self.evidence >= self.unhealthy_at

    @property
    def evidence(self) -> float:
        """The logarithm of the likelihood ratio: above zero it speaks for unacceptable, below for acceptable."""
        return self.failures * self._per_failure + (self.requests - self.failures) * self._per_success

    def verdict(self) -> Verdict:
        """Healthy, unhealthy, or undecided as yet."""
        if self._condemned:
            return "unhealthy"
        return "healthy" if self.evidence <= self.healthy_at else "undecided"

    def fraction(self) -> float:
        """How far the evidence has come to the boundary that is nearer, 0…1."""
        if self._condemned:
            return 1.0
        evidence = self.evidence
        return min(1.0, evidence / self.unhealthy_at if evidence > 0 else evidence / self.healthy_at)

    @property
    def fewest_requests(self) -> int:
        """How many requests in a row must succeed for the verdict healthy."""
        return math.ceil(self.healthy_at / self._per_success)


def judge(
    requests: int, failures: int, *, acceptable: float, unacceptable: float, alpha: float, beta: float
) -> Verdict:
    """Judge counts in one look."""
    test = Sprt(acceptable, unacceptable, alpha, beta)
    test.observe_many(requests, failures)
    return test.verdict()
