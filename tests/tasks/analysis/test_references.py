"""Objects that rows refer to: missing, of another size, of another content, or replaced by the application itself."""

from __future__ import annotations

import base64
import hashlib

import pytest

from tasks.analysis.references import judge, outdated
from tasks.backup_models import Reference
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


def test_what_production_does_not_say_any_more_is_no_damage() -> None:
    reference = Reference(name="p.svg", size=8)
    found = judge(reference, FACTS)
    assert found is not None
    assert outdated(found, [])
    assert outdated(found, [Reference(name="p.svg", size=7)])
    assert not outdated(found, [reference])
