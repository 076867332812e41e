"""The verdict on a candidate revision, from the answers of one canary step.

Safety property: the promises of the estate hold for the whole release.
- ``alpha``: a candidate with an acceptable error rate and the stable revision's latency is rolled back with a chance of
  at most alpha, all steps taken together. Each step is a test of its own and gets an equal part of alpha, of which the
  error rate gets one half and the latency the other; without ``judge_latency`` the error rate gets all of it. A step
  that is done over by a later run adds its part once more.
- ``beta``: a candidate whose error rate is unacceptable, be it in one step only (under load, say), is released with a
  chance of at most beta. Each step gets the whole of beta, since it must pass the step in which it is bad.
- Between the two rates, and when time runs out, the verdict may stay undecided: nothing is released on that.

Evidence does not carry over from step to step: a fault that appears only at a larger share of the traffic would have to
outweigh every good answer of the smaller one.
"""

from __future__ import annotations

from statistics import median

from tasks.analysis.latency import LatencyComparison
from tasks.analysis.sprt import Sprt, Verdict
from tasks.estate import Canary

__all__ = ["CanaryJudge", "Verdict"]


class CanaryJudge:
    """Judges one canary step. Make a new one for each step."""

    def __init__(self, canary: Canary) -> None:
        share = canary.alpha / len(canary.steps) / (2 if canary.judge_latency else 1)
        self._canary = canary
        self._errors = Sprt(canary.acceptable_error_rate, canary.unacceptable_error_rate, share, canary.beta)
        self._stable = Sprt(canary.acceptable_error_rate, canary.unacceptable_error_rate, share, canary.beta)
        self._latency = LatencyComparison(share, canary.beta, canary.max_latency_ratio)
        self._lowest_evidence = 0.0

    def observe(self, is_candidate: bool, ok: bool) -> None:
        """Take one answer to our own probes into account, as good or bad."""
        if is_candidate:
            self.observe_request(ok)
        else:
            self._stable.observe(ok)

    def observe_pair(self, candidate: float, stable: float) -> None:
        """Take the latencies, in seconds, of two good answers to one question asked at the same instant into account.

        A bad answer's latency is not to be compared: an error is often fast.
        """
        self._latency.observe_pair(candidate, stable)

    def observe_request(self, ok: bool) -> None:
        """Take one answer of the candidate to a real request into account.

        Its latency is not compared: who asks what is not the same on both sides.
        """
        self._errors.observe(ok)
        self._lowest_evidence = min(self._lowest_evidence, self._errors.evidence)

    @property
    def suspects_errors(self) -> bool:
        """Whether a bad answer is yet to be outweighed by good ones, so that more answers of the candidate are urgent.

        Page's rule (Biometrika 41, 1954, https://doi.org/10.1093/biomet/41.1-2.100): the evidence has risen above its
        lowest. It only says whom to ask; the verdict's promises do not depend on that.
        """
        return self._errors.evidence > self._lowest_evidence

    @property
    def requests(self) -> int:
        """How many answers of the candidate were seen."""
        return self._errors.requests

    @property
    def failures(self) -> int:
        """How many of them were bad."""
        return self._errors.failures

    @property
    def candidate_median(self) -> float | None:
        """The median latency of the candidate's good answers, in seconds."""
        return median(self._latency.candidate) if self._latency.candidate else None

    @property
    def stable_median(self) -> float | None:
        """The median latency of the stable revision's good answers, in seconds."""
        return median(self._latency.stable) if self._latency.stable else None

    def verdict(self) -> Verdict:
        """Healthy when errors and latency are; unhealthy as soon as one is not."""
        errors = self._errors.verdict()
        if errors == "unhealthy" or (self._canary.judge_latency and self._latency.said == "slow"):
            return "unhealthy"
        latency_is_ok = not self._compares_latency or self._latency.said == "ok"
        return "healthy" if errors == "healthy" and latency_is_ok else "undecided"

    @property
    def _compares_latency(self) -> bool:
        return self._canary.judge_latency and not self._stable_fails

    @property
    def _stable_fails(self) -> bool:
        """A stable revision that fails itself gives nothing to compare with, and must not hold up what mends it."""
        return self._stable.verdict() == "unhealthy"

    def fraction(self) -> float:
        """How near a verdict is, 0…1."""
        towards_health = self._errors.fraction()
        if self._compares_latency:
            towards_health = min(towards_health, self._latency.fraction())
        return self._errors.fraction() if self._errors.evidence > 0 else towards_health

    def reasons(self) -> tuple[str, ...]:
        """What speaks for the verdict, or what is missing for one, for a person."""
        return (self._about_errors(), *self._about_stable(), self._about_latency())

    def _about_errors(self) -> str:
        rate = f" ({100 * self.failures / self.requests:.1f} %)" if self.requests else ""
        said = {
            "healthy": f"the error rate is below {100 * self._canary.unacceptable_error_rate:g} %",
            "unhealthy": f"the error rate is above {100 * self._canary.acceptable_error_rate:g} %",
            "undecided": (
                f"the error rate is undecided: evidence {self._errors.evidence:+.1f}, healthy at "
                f"{self._errors.healthy_at:+.1f}, unhealthy at {self._errors.unhealthy_at:+.1f}"
            ),
        }[self._errors.verdict()]
        return f"{said}; {self.failures} of {self.requests} requests failed{rate}"

    def _about_stable(self) -> tuple[str, ...]:
        if not self._stable.failures:
            return ()
        return (
            f"the stable revision failed too: {self._stable.failures} of {self._stable.requests}; "
            "the fault may lie outside of both",
        )

    def _about_latency(self) -> str:
        if not self._canary.judge_latency:
            return "latency is not judged, as the estate says"
        if self._stable_fails:
            return "latency is not compared: the stable revision fails"
        said = {"ok": "latency is as allowed", "slow": "slower than allowed", "undecided": "latency is undecided"}
        return f"{said[self._latency.said]}: {self._latency.why}"
