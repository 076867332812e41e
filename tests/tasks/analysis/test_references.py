"""Objects that rows refer to: missing, of another size, of another content, or replaced by the application itself."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tasks.analysis.references import Tally, judge
from tasks.backup_models import Evidence, Reference
from tasks.clients.stored_objects import ObjectFacts

MD5 = hashlib.md5(b"picture").digest()
FACTS = ObjectFacts(size=7, md5=MD5.hex(), crc32c="0a0b0c0d")


CRC32C = base64.b64encode(bytes.fromhex(FACTS.crc32c)).decode()


@pytest.mark.parametrize(
    "checksum", [MD5.hex(), MD5.hex().upper(), base64.b64encode(MD5).decode(), FACTS.crc32c, CRC32C, ""]
)
def test_a_checksum_may_be_told_in_hexadecimal_or_base64_as_md5_or_crc32c(checksum: str) -> None:
    assert judge(Reference(name="p.svg", size=7, checksum=checksum), FACTS) is None


@pytest.mark.parametrize(
    ("reference", "facts", "said"),
    [
        (Reference(name="p.svg", size=7), None, "object p.svg is missing"),
        (Reference(name="p.svg", size=8), FACTS, "object p.svg has 7 bytes instead of 8"),
        (Reference(name="p.svg", checksum="00" * 16), FACTS, f"object p.svg has the checksum {MD5.hex()}"),
    ],
)
def test_what_the_bucket_does_not_bear_out_is_said(reference: Reference, facts: ObjectFacts | None, said: str) -> None:
    found = judge(reference, facts)
    assert found is not None
    assert said in found.said


COMPOSITE = ObjectFacts(size=7, md5="", crc32c="0a0b0c0d")


def told(tally: Tally, now: list[Reference]) -> list[Evidence]:
    return tally.evidence("plots", "bucket", "all of them", now)


def missing(number: int) -> Reference:
    return Reference(name=f"p{number}.svg", size=1)


def test_what_production_does_not_say_any_more_is_no_damage() -> None:
    reference, tally = Reference(name="p.svg", size=8), Tally()
    tally.add([reference], {"p.svg": FACTS})
    for now in ([], [Reference(name="p.svg", size=7)]):
        assert [line.what for line in told(tally, now)] == [
            "plots: 1 objects looked at, all of them, 0 of them wrong",
            "plots: 1 were replaced or removed by the application since",
        ]
    assert [line.ok for line in told(tally, [reference])] == [False, True]


def test_of_a_bucket_that_was_wiped_everything_is_counted_and_the_first_are_kept() -> None:
    tally = Tally(kept=50)
    for start in range(0, 3000, 500):
        tally.add([missing(number) for number in range(start, start + 500)], dict.fromkeys(map(name, range(3000))))
    assert (tally.seen, tally.wrong, len(tally.names)) == (3000, 3000, 50)
    lines = told(tally, [missing(number) for number in range(50)])
    assert sum(not line.ok for line in lines) == 21
    assert lines[-1].what == "plots: 3,000 objects looked at, all of them, 3000 of them wrong"


def test_what_was_not_held_against_production_is_never_excused() -> None:
    tally = Tally(kept=2)
    tally.add([missing(number) for number in range(3)], dict.fromkeys(map(name, range(3))))
    (unheld, *_) = told(tally, [])
    assert (unheld.ok, unheld.what) == (
        False, "plots: 1 more are wrong, and were not held against production's rows of now"
    )  # fmt: skip


def test_a_composite_object_has_no_md5_to_compare_and_that_is_said() -> None:
    tally = Tally()
    tally.add([Reference(name="p.svg", size=7, checksum=MD5.hex())], {"p.svg": COMPOSITE})
    lines = told(tally, [])
    assert all(line.ok for line in lines)
    assert "1 are composite, without an MD5" in lines[-1].what


def test_a_composite_objects_size_and_crc32c_are_compared() -> None:
    assert judge(Reference(name="p.svg", checksum=CRC32C), COMPOSITE) is None
    for wrong in (Reference(name="p.svg", checksum="00000000"), Reference(name="p.svg", size=8, checksum=MD5.hex())):
        assert judge(wrong, COMPOSITE) is not None


def name(number: int) -> str:
    return missing(number).name
