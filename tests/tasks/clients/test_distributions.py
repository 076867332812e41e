"""Percentiles from buckets."""

from __future__ import annotations

import pytest
from google.api import distribution_pb2

from tasks.clients.distributions import latencies, percentile

Distribution = distribution_pb2.Distribution


def explicit(bounds: list[float], counts: list[int]) -> Distribution:
    options = Distribution.BucketOptions(explicit_buckets=Distribution.BucketOptions.Explicit(bounds=bounds))
    return Distribution(count=sum(counts), bucket_options=options, bucket_counts=counts)


def test_a_percentile_lies_inside_its_bucket_in_proportion():
    buckets = {(0.0, 10.0): 50, (10.0, 20.0): 50}
    assert percentile(buckets, 0.5) == pytest.approx(10)
    assert percentile(buckets, 0.75) == pytest.approx(15)
    assert percentile(buckets, 1.0) == pytest.approx(20)


def test_several_distributions_count_together_in_seconds():
    found = latencies([explicit([100, 200], [90, 0, 0]), explicit([100, 200], [0, 10, 0])], 0.001)
    assert found is not None
    assert found.count == 100
    assert found.p50 == pytest.approx(0.0555, abs=0.001)
    assert found.p95 == pytest.approx(0.150)


def test_exponential_and_linear_bounds_are_as_documented():
    exponential = Distribution.BucketOptions.Exponential(num_finite_buckets=3, growth_factor=2, scale=1)
    options = Distribution.BucketOptions(exponential_buckets=exponential)
    found = latencies([Distribution(bucket_options=options, bucket_counts=[0, 0, 0, 8])], 1)
    assert found is not None
    assert 4 <= found.p50 <= 8
    linear = Distribution.BucketOptions(
        linear_buckets=Distribution.BucketOptions.Linear(num_finite_buckets=2, width=5, offset=10)
    )
    found = latencies([Distribution(bucket_options=linear, bucket_counts=[0, 4])], 1)
    assert found is not None
    assert found.p50 == pytest.approx(12.5)


def test_the_overflow_bucket_is_told_by_its_lower_bound():
    found = latencies([explicit([1, 2], [0, 0, 5])], 1)
    assert found is not None
    assert found.p99 == 2


def test_nothing_counted_is_no_number():
    assert latencies([], 1) is None
    assert latencies([explicit([1], [0, 0])], 1) is None
