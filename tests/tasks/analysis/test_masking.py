"""Masking: secrets and personal data are gone, however they are dressed; what tells statements apart stays."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.analysis.masking import LONGEST, hide, mask

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJib2IifQ.dBjftJeZ4CVPmB92K27uhbUJU1p1r_wW1gFWFOEjXk"

#: What must be gone, and lines that carry it in.
SMUGGLED = [
    ("hunter", 'login failed password=hunter', "hide"),
    ("hunter", '{"user": "x", "password": "hunter two", "n": 1}', "hide"),
    ("hunter", "{'db_password': 'hunter'}", "hide"),
    ("hunter", "PGPASSWORD=hunter psql", "hide"),
    ("hunter", "--password hunter --verbose", "hide"),
    ("hunter", "the password is hunter", "hide"),
    ("hunter", "password%3Dhunter", "hide"),
    ("hunter", r"password\u003dhunter", "hide"),
    ("hunter", "pass\u200bword=hunter", "hide"),
    ("hunter", "ｐａｓｓｗｏｒｄ＝hunter", "hide"),
    ("hunter", "\x1b[31mpassword\x1b[0m=hunter", "hide"),
    ("hunter", "Passwort: hunter", "hide"),
    ("hunter", 'password="hunter two', "hide"),
    ("hunter", "postgresql://app:hunter@db/pyplots", "hide"),
    ("hunter", "postgresql+asyncpg://hunter@db/pyplots", "hide"),
    ("hunter", "redis://:hunter@cache:6379/0", "hide"),
    ("hunter", "GET /x?api_key=hunter&a=1", "hide"),
    ("hunter", "X-Api-Key: hunter", "hide"),
    ("hunter", "Authorization: Basic hunter", "hide"),
    ("aHVudGVyOnR3bw", "Authorization: Basic aHVudGVyOnR3bw==", "hide"),
    ("huntertwo", "authorization=Bearer huntertwo", "hide"),
    ("huntertwo", "sent bearer huntertwo to upstream", "hide"),
    ("hunter", "Cookie: theme=dark; sid=hunter; x=y", "hide"),
    ("hunter", "Set-Cookie: id=hunter; Path=/", "hide"),
    ("hunter", "session=hunter", "hide"),
    ("hunter", "client_secret => hunter", "hide"),
    ("dBjftJeZ4CVP", f"token {JWT} refused", "hide"),
    ("eyJ", f"refused {JWT[:50]}", "hide"),
    ("AKIAIOSFODNN", "used AKIAIOSFODNN7EXAMPLE", "hide"),
    ("ghp_", "push with ghp_abcdefghijklmnopqrstuvwxyzABCDEFGHIJ", "hide"),
    ("wJalrXUtnFEMI", "aws wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY used", "hide"),
    ("MIIEpAIBAAKC", "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKC\n-----END RSA PRIVATE KEY-----", "hide"),
    ("MIIEpAIBAAKC", "-----BEGIN PRIVATE KEY----- MIIEpAIBAAKC and no end", "hide"),
    ("bob", "mail to bob@example.com failed", "hide"),
    ("bob", "mail to bob%40example.com failed", "hide"),
    ("bob", r"mail to bob\u0040example.com failed", "hide"),
    ("bob", "mail to bob＠example.com failed", "hide"),
    ("bob", "mail to bo\u00adb@exam\u200bple.com failed", "hide"),
    ("bob", "<bob.smith+tag@mail.example.co.uk>", "hide"),
    ("dead:beef", "connect fe80::dead:beef failed", "hide"),
    ("hunter", r'{"body": "{\"client_secret\": \"hunter\"}"}', "hide"),
    ("hunter", "{b'password': b'hunter'}", "hide"),
    ("hunter", "headers [(b'x-api-key', b'hunter')]", "hide"),
    ("hunter", "<password>hunter</password>", "hide"),
    ("hunter", "ALTER USER app PASSWORD 'hunter'", "hide"),
    ("hunter", "CREATE USER app IDENTIFIED BY 'hunter'", "hide"),
    ("hunter", '{"credentials": {"value": "hunter"}}', "hide"),
    ("hunter", '{"tokens": ["first", "hunter"]}', "hide"),
    ("hunter", "password=[hunter]", "hide"),
    ("hunter", "DETAIL: Key (email)=(hunter) already exists.", "hide"),
    ("hunter", 'password="""hunter"""', "hide"),
    ("hunter", "DB_PASS=hunter", "hide"),
    ("bob", "mail to bob%2540example.com failed", "hide"),
    ("bob", "mail to bob&#64;example.com failed", "hide"),
    ("bob", "mail to bob&#x40;example.com failed", "hide"),
    ("bob", "mail to bob&amp;commat;example.com failed", "hide"),
    ("hunter", "{&quot;password&quot;: &quot;hunter&quot;}", "hide"),
    ("hunter", "tried passwd hunter", "hide"),
    ("hunter", "login as root with password hunter", "hide"),
    ("hunter", "curl -u bob:hunter https://x", "hide"),
    ("bob", "curl --user bob:hunter https://x", "hide"),
    ("hunter", "curl -u 'bob:hunter' https://x", "hide"),
    ("hunter", "GET /callback?code=hunter&state=x", "hide"),
    ("hunter", "GET /callback?x=y&ticket=hunter", "hide"),
    ("jane", "denied for user=jane", "hide"),
    ("jane", 'denied {"user": "jane"}', "hide"),
    ("jane", "USER: Jane".lower(), "hide"),
    ("4111", "card 4111 1111 1111 1111 declined", "mask"),
    ("4111", "card 4111-1111-1111-1111 declined", "mask"),
    ("1111", "card ４１１１１１１１１１１１１１１１ declined", "mask"),
    ("٤", "card ٤١١١١١١١ declined", "mask"),
    ("0170", "call +49 0170 1234567", "mask"),
    ("10.1.2.3", "from 10.1.2.3:8080", "mask"),
    ("user42", "user42 logged in", "mask"),
    ("550e8400", "request 550e8400-e29b-41d4-a716-446655440000", "mask"),
    ("deadbeef", "commit deadbeefcafe", "mask"),
    ("Jane", 'hello "Jane Doe" again', "mask"),
    ("DE89", "iban DE89 3704 0044 0532 0130 00", "mask"),
]  # fmt: skip


@pytest.mark.parametrize(("secret", "line", "by"), SMUGGLED, ids=range(len(SMUGGLED)))
def test_what_is_smuggled_into_a_line_is_gone(secret: str, line: str, by: str) -> None:
    assert secret in line or not line.isascii() or "%" in line or "\\u" in line
    for text in (line, f"prefix {line} suffix", f"key value {line}"):
        assert secret not in (mask(text) if by == "mask" else hide(text))
        assert secret not in mask(text)


@given(st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12))
def test_no_value_of_a_password_survives_whatever_its_signs(value: str) -> None:
    secret = f"zq{value}qz"
    shown = mask(f'connecting {{"password": "{secret}"}}' if '"' not in value and "\\" not in value else "nothing")
    assert secret not in shown


@given(st.binary(min_size=32, max_size=64))
def test_random_bytes_in_base64_leave_nothing_of_eight_signs(data: bytes) -> None:
    token = base64.urlsafe_b64encode(data).decode().rstrip("=")
    shown = mask(f"sent {token} upstream")
    assert not any(
        token[i : i + 8] in shown for i in range(len(token) - 8) if any(c.isdigit() for c in token[i : i + 8])
    )


@pytest.mark.parametrize(
    ("line", "masked"),
    [
        ("rendered spec 17 in 12.5 ms", "rendered spec <n> in <n> ms"),
        ("KeyError: 'price'", "KeyError: 'price'"),
        ("worker started", "worker started"),
        ("password reset failed", "password reset failed"),
        ("password authentication failed for role", "password authentication failed for role"),
        ("password must not be empty", "password must not be empty"),
        ("user is not allowed", "user is not allowed"),
        ("-u unbuffered: yes", "-u unbuffered: yes"),
        ("a &lt; b &amp; c", "a < b & c"),
        ("InternalServerErrorException raised", "InternalServerErrorException raised"),
        ("items [1, 2, 3] left", "items [<n>] left"),
        ("at 2026-11-23T00:01:02.123Z done", "at <n> done"),
        ("turkey: fine", "turkey: fine"),
        ('1.2.3.4 - - "GET /u/bob HTTP/1.1" 200 17', '<n> - - "GET <str>" <n>'),
        ("spin=on mapping: off", "spin=on mapping: off"),
        ("/srv/app/rendering/long_path_name/module.py", "/srv/app/rendering/long_path_name/module.py"),
        ("a  \t b\nc", "a b c"),
        ("", ""),
    ],
)  # fmt: skip
def test_what_tells_statements_apart_stays(line: str, masked: str) -> None:
    assert mask(line) == masked


def test_numbers_and_ids_that_differ_give_the_same_masked_line() -> None:
    assert mask("job 550e8400-e29b-41d4-a716-446655440000 took 3s") == mask(
        "job 12345678-aaaa-bbbb-cccc-1234567890ab took 71s"
    )


@pytest.mark.parametrize(
    "line",
    ["x" * 262_144, "a b@c.de " * 30_000, '"' * 200_000, 'password="' + "\\" * 100_000, "1:" * 100_000, "_" * 200_000,
     "password=[" * 30_000, 'password=\\"' + "\\" * 100_000, "password (" * 30_000, "%25" * 90_000,
     "password" * 30_000, "<" * 100_000, "://@" * 60_000, "at " * 80_000, "eyJ" * 80_000],
    ids=range(15),
)  # fmt: skip
def test_a_line_of_256_kilobytes_is_masked_in_no_time(line: str) -> None:
    began = time.process_time()
    assert len(mask(line)) < 700
    assert time.process_time() - began < 1.0


def test_a_long_line_is_not_cut_inside_an_address() -> None:
    line = "x " * (LONGEST // 2 - 3) + "bob@example.com"
    assert "bob" not in hide(line)
