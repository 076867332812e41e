"""Takes secrets and personal data out of log lines, and then whatever varies.

Safety property: nothing of a line is kept before it has been through ``hide`` or ``mask``. What looks like a secret is
taken for one: a mask too many costs a reader a word, a mask too few costs a password. A word that holds a digit never
survives ``mask``, which covers numbers of cards, phones, accounts and addresses without a rule for each.

What no rule can see: a name or a password in plain words that nothing announces.
"""

from __future__ import annotations

import html
import itertools
import re
import unicodedata
from urllib.parse import unquote

#: A longer line is cut at a blank, so that no half of an address or token escapes its rule.
LONGEST = 16_384
#: So much of a masked line tells one statement from another.
LONGEST_MASKED = 600
CUT = "<cut>"
_BLANKS_BEFORE_CUT = 2_048
#: An address that is passed on in another one is escaped once more each time.
_MOST_ESCAPES = 3

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ESCAPED = re.compile(r"\\u([0-9a-fA-F]{4})|\\x([0-9a-fA-F]{2})")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,10});")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,40}-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)", re.S)
_URL_PASSWORD = re.compile(r"(\w{1,30}://)[^\s/@\"'<>]*@")
_SCHEME = re.compile(
    r"(?<![\w-])(?i:(bearer|negotiate|digest)\s+[^\s\"',;]{6,}|(basic)\s+(?=[^\s]*(?-i:[A-Z0-9+/=]))[A-Za-z0-9+/=]{8,})"
)
_COOKIE = re.compile(r"\b((?:set-)?cookies?[\"']?\s*[:=]\s*)(?!<)[^\r\n]+", re.I)
_AUTHORIZATION = re.compile(r"\b(authorization[\"']?\s*[:=]\s*[\"']?)(?!<)[^\r\n\"']+", re.I)
#: Names that announce a secret or a person wherever they stand in a word, and those that do so only as a whole word.
_NAMES = (
    "passw|passphrase|passcode|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credential|authoriz|auth|"
    "session|signature|first[_-]?name|last[_-]?name|full[_-]?name|user[_-]?name|email|phone|"
    r"(?<![^\W_])(?:sid|sig|otp|pin|cvv|cvc|ssn|iban|mail|key|pass|pw|identified by)(?![^\W_])"
)
#: What stands between a name and its value: ``=``, ``"x": ``, ``\"x\": ``, ``<x>``, ``(x)=``, ``'x', ``; a blank where
#: the value is in quotes, as in SQL.
_SEPARATOR = (
    r"\\{0,3}[\"']?[)\]}]?\s{0,3}(?:=>|:=|->|[:=>|]|(?<=[\"']),|(?<=\s)(?:is|was)\s|(?<=\s)(?=[bruf]?[\"']))\s{0,3}"
    r"(?:[bruf]{1,2}(?=[\"']))?"
)
#: A value in quotes or brackets runs to its end, or to that of the line: it may hold blanks.
_VALUE = (
    r"\"{2,3}(?=\w)[^\"]*+\"*|'{2,3}(?=\w)[^']*+'*|(\")(?:[^\"\\]|\\.)*+(?:\"|\Z)|(')(?:[^'\\]|\\.)*+(?:'|\Z)|"
    r"\\{1,3}[\"'](?:(?!\\{1,3}[\"'])(?s:.))*+(?:\\{1,3}[\"']|\Z)|"
    r"[(\[{](?:\"(?:[^\"\\]|\\.)*+\"|[^)\]}])*+(?:[)\]}]|\Z)|[^\s,;&\"'(){}\[\]]+"
)
#: Who acts, where a sign follows at once: "user is not allowed" names nobody.
_PERSON = r"(?<![^\W_])(?:user|usr|login)(?![\w-])\\{0,3}[\"']?\s{0,3}[=:]\s{0,3}"
_NAMED = re.compile(
    rf"((?:{_NAMES})[\w-]{{0,20}}{_SEPARATOR}|--[\w-]{{0,20}}(?:{_NAMES})[\w-]{{0,20}}\s+|{_PERSON})(?:{_VALUE})"
)
#: ``passwd hunter``: a password that nothing but its name announces, unless the next word is one of a sentence.
_SPOKEN = re.compile(
    r"(?<![^\W_])(passwords?|passwort|passwd|passphrase|pwd)\s+"
    r"(?!(?:and|are|at|by|can|could|did|do|does|empty|entered|field|file|for|from|given|has|have|in|is|it|length|link|login|"
    r"may|missing|must|needs?|no|not|of|on|or|same|sent|set|should|strength|that|the|this|to|too|was|weak|were|which|"
    r"will|with|without|wrong|your)\b|(?:accept|attempt|auth|chang|check|confirm|correct|expir|fail|format|hash|histor|"
    r"incorrect|invalid|manag|mismatch|polic|prompt|protect|provid|refus|reject|requir|reset|rotat|rule|suppl|updat|valid|"
    r"verif)[a-z]{0,10}\b)([^\s<>\"'=:,;()\[\]{}][^\s\"'<>]*)",
    re.I,
)
#: ``curl -u name:password``.
_LOGIN_OPTION = re.compile(r"(?<!\S)(-u|-U|--user|--proxy-user)([\s=]{0,3})([^\s:<]{1,128}:[^\s<]+)")
#: Parameters of an address that let somebody in once.
_ONCE_CODES = re.compile(
    r"([?&;](?:code|state|nonce|ticket|assertion|samlresponse|samlrequest|code_verifier)=)(?!<)[^&\s\"'#;]+", re.I
)
#: Most lines hold none of these: one search that says so is a tenth of the work of ``_NAMED``.
_NAMED_HINTS = re.compile(
    "pass|secret|token|key|credential|auth|session|sid|sig|otp|pin|cv|ssn|iban|name|mail|phone|pw|identified by|user|"
    "usr|login"
)
_JWT = re.compile(r"\beyJ[\w-]{5,}(?:\.[\w-]*){0,2}")
#: Prefixes that vendors document for their keys.
_VENDOR_PREFIXES = (
    "AKIA", "ASIA", "AIza", r"ya29\.", "ghp_", "gho_", "ghs_", "ghu_", "github_pat_", "glpat-", "sk_live_", "sk_test_",
    "rk_live_", "pk_live_", "sk-", "xox[abprs]-", r"SG\.", "npm_", "pypi-", "dop_v1_", "hf_", "shpat_", "whsec_",
    "GOCSPX-",
)  # fmt: skip
#: Whether a word begins there is looked at after its first letter: a search for letters is faster than one for words.
_VENDORS = re.compile(
    "(?:" + "|".join(name[0] + r"(?<!\w" + name[0] + ")" + name[1:] for name in _VENDOR_PREFIXES) + r")[\w.-]{6,}"
)
_EMAIL = re.compile(r"[^\s@<>\"'(),;:=\[\]{}|/]{1,128}@[^\s@<>\"'(),;:=\[\]{}|/]{1,255}")
_LONG = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?:%\w+)?(?![\w:])")

_UUID = re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b")
_QUOTED = re.compile(r"\"[^\"]*\"|(?<!\w)'[^']*'(?!\w)")
_NUMBER = re.compile(r"(?<!\w)[^\W\d]*+\d\w*+(?:[.:,/-][^\W\d]*+\d\w*+)*+%?")
_HEX = re.compile(r"\b(?:[a-f]{8,}|[A-F]{8,})\b")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_MANY = re.compile(r"<n>(?:[\s,;/x-]{1,3}<n>)+")


def mask(text: str) -> str:
    """A line as its pattern is found by: secrets and personal data hidden, then numbers, ids and quoted words."""
    line = hide(text)
    if '"' in line or "'" in line:
        line = _QUOTED.sub(_quoted, line)
    if "-" in line:
        line = _UUID.sub("<id>", line)
    line = _HEX.sub("<n>", _NUMBER.sub("<n>", line))
    if line.count("<n>") > 1:
        line = _MANY.sub("<n>", line)
    line = " ".join(line.split())
    return line if len(line) <= LONGEST_MASKED else f"{line[:LONGEST_MASKED].rsplit(' ', 1)[0]} {CUT}"


def hide(text: str) -> str:
    """A text without its secrets and personal data; the rest as it is."""
    line = _plain(_cut(text))
    if "-----BEGIN" in line:
        line = _PRIVATE_KEY.sub("<secret>", line)
    if "://" in line and "@" in line:
        line = _URL_PASSWORD.sub(r"\1<secret>@", line)
    line = _hide_named(line)
    if "eyJ" in line:
        line = _JWT.sub("<token>", line)
    if "@" in line:
        line = _EMAIL.sub(_address, line)
    if line.count(":") > 1:
        line = _IPV6.sub(_ip, line)
    return _LONG.sub(_long, _VENDORS.sub("<token>", line))


def _hide_named(line: str) -> str:
    """Hide what a name announces: ``password=…``, ``Authorization: Bearer …``, ``Cookie: …``."""
    lower = line.lower()
    if "earer" in lower or "basic" in lower or "digest" in lower or "negotiate" in lower:
        line = _SCHEME.sub(lambda found: f"{found[1] or found[2]} <secret>", line)
    if "authorization" in lower:
        line = _AUTHORIZATION.sub(r"\1<secret>", line)
    if "cookie" in lower:
        line = _COOKIE.sub(r"\1<secret>", line)
    if _NAMED_HINTS.search(lower):
        line = _NAMED.sub(_named, line) if lower == line else _sub_in(line, line.lower())
    return _hide_unnamed(line, lower)


def _hide_unnamed(line: str, lower: str) -> str:
    """Hide what stands in its place alone: after the word password, an option of curl, in an address's parameters."""
    if "passw" in lower or "passphrase" in lower or "pwd" in lower:
        line = _SPOKEN.sub(r"\1 <secret>", line)
    if "-u" in lower:
        line = _LOGIN_OPTION.sub(r"\1\2<secret>", line)
    if "=" in line and ("?" in line or "&" in line or ";" in line):
        line = _ONCE_CODES.sub(r"\1<secret>", line)
    return line


def _sub_in(line: str, lower: str) -> str:
    """Substitute in a line what is found in its small letters: five times as fast as a search that ignores case."""
    if len(lower) != len(line):
        return _NAMED.sub(_named, lower)
    parts, end = [], 0
    for found in _NAMED.finditer(lower):
        parts += [line[end : found.start()], line[found.start() : found.end(1)], _value(found)]
        end = found.end()
    return "".join([*parts, line[end:]])


def _named(found: re.Match[str]) -> str:
    return found[1] + _value(found)


def _value(found: re.Match[str]) -> str:
    quote = found[2] or found[3] or ""
    return f"{quote}<secret>{quote}"


def _quoted(found: re.Match[str]) -> str:
    """Words in quotes vary, one word alone may be the name of a field."""
    word = found[0]
    method = word[1:].partition(" ")[0]
    if method in _METHODS:  # the request line of an access log
        return f"{word[0]}{method} <str>{word[0]}"
    return word if word[1:-1].isidentifier() and not any(c.isdigit() for c in word) else f"{word[0]}<str>{word[0]}"


def _cut(text: str) -> str:
    if len(text) <= LONGEST:
        return text
    head = text[:LONGEST]
    blank = max(head.rfind(sign, LONGEST - _BLANKS_BEFORE_CUT) for sign in " \n\t")
    return f"{head[: blank if blank >= 0 else LONGEST - _BLANKS_BEFORE_CUT]} {CUT}"


def _plain(text: str) -> str:
    """A text in which nothing hides behind an escape, a look-alike or a sign that nobody sees."""
    if "\x1b" in text:
        text = _COLOURS.sub("", text)
    if "\\" in text:
        text = _ESCAPED.sub(lambda found: chr(int(found[1] or found[2], 16)), text)
    for _ in range(_MOST_ESCAPES):
        if "%" in text:
            text = unquote(text, errors="replace")
        if "&" in text:
            text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
        elif "%" not in text:
            break
    if text.isascii() and text.isprintable():
        return text
    text = unicodedata.normalize("NFKC", text)
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C")


def _address(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith("<secret>") else "<email>"


def _ip(found: re.Match[str]) -> str:
    return "<ip>" if sum(c != ":" for c in found[0]) > 1 and _looks_like_ip(found[0]) else found[0]


def _looks_like_ip(text: str) -> bool:
    """Not a time of day, which is a number and nobody's; not Ruby's or C++'s ``a::b``."""
    return "::" in text or text.count(":") >= 5


def _long(found: re.Match[str]) -> str:
    """A long word is a token where it looks random: digits in it, or small and capital letters in no order."""
    word = found[0]
    if "/" in word and not (len(word) >= 32 and word[0] != "/" and _is_mixed(word)):
        return "/".join(_LONG.sub(_long, part) for part in word.split("/"))  # a path
    if any(c.isdigit() for c in word) or _is_random(word):
        return "<token>"
    return word


def _is_mixed(word: str) -> bool:
    return any(c.isdigit() for c in word) and word.lower() != word and word.upper() != word


def _is_random(word: str) -> bool:
    letters = [c for c in word if c.isalpha()]
    changes = sum(a.isupper() != b.isupper() for a, b in itertools.pairwise(letters))
    return len(letters) >= 16 and changes / len(letters) > 0.35
