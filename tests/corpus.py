"""Weeks of believable log entries of ten services, with planted changes: what the weekly review is measured on.

Everything follows from the seed and the week's number: the same corpus comes out on every machine. Each service logs in
the manner of its kind: access logs, structured JSON, a worker, a scheduler, Java and Node traces, PostgreSQL, nginx, a
queue. Lines hold what varies in real ones: ids, addresses, users, secrets.

``Statement.planted`` is what the review must say of a statement in the last week; of all the others, that they are
steady.
"""

# A statement stands on a line of its own, as in a table.
# ruff: noqa: E501

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.log_models import Week

WEEKS = ("2026-W43", "2026-W44", "2026-W45", "2026-W46", "2026-W47")
ZONE = "Europe/Berlin"
ERROR, WARNING, INFO, PLAIN = 500, 400, 200, 0
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory", "niaj",
         "olivia", "peggy", "rupert", "sybil", "trent", "victor", "wendy", "yusuf")  # fmt: skip
TABLES = ("specs", "plots", "users", "jobs", "events", "audit")
Say = Callable[[random.Random], str]


@dataclass(frozen=True)
class Statement:
    """One statement of a service's code. ``weight`` is its share of the entries; ``planted`` what becomes of it."""

    key: str
    service: str
    severity: int
    say: Say
    weight: float = 1.0
    planted: str = ""
    level: str = ""


def _hex(r: random.Random, digits: int) -> str:
    return f"{r.getrandbits(4 * digits):0{digits}x}"


def _ip(r: random.Random) -> str:
    return f"{r.randrange(1, 255)}.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(256)}"


def _uuid(r: random.Random) -> str:
    return "-".join((_hex(r, 8), _hex(r, 4), _hex(r, 4), _hex(r, 4), _hex(r, 12)))


def _python(kind: str, message: str, *frames: tuple[str, str]) -> Say:
    def say(r: random.Random) -> str:
        lines = [f'  File "{file}", line {r.randrange(10, 400)}, in {name}\n    call_{name}(value)' for file, name in frames]
        return "\n".join(("Traceback (most recent call last):", *lines, f"{kind}: {message.format(n=r.randrange(10**6))}"))

    return say


def _java(kind: str, *frames: str) -> Say:
    def say(r: random.Random) -> str:
        lines = [f"\tat {frame}({frame.split('.')[-2]}.java:{r.randrange(10, 400)})" for frame in frames]
        return "\n".join((f"{kind}: order {r.randrange(10**6)} of {r.choice(NAMES)}@example.com", *lines))

    return say


def _node(kind: str, *frames: tuple[str, str]) -> Say:
    def say(r: random.Random) -> str:
        lines = [f"    at {name} ({file}:{r.randrange(10, 400)}:{r.randrange(80)})" for name, file in frames]
        return "\n".join((f"{kind}: request {_uuid(r)} failed", *lines))

    return say


def statements() -> tuple[Statement, ...]:
    """Every statement of every service."""
    return (*_steady(), *_planted())


def _steady() -> tuple[Statement, ...]:
    s = Statement
    return (
        s("api.rendered", "api", INFO, lambda r: f"rendered spec {r.randrange(900)} in {r.randrange(5, 400)} ms for {_ip(r)}", 30),
        s("api.cache", "api", INFO, lambda r: f"cache hit key=plot:{_hex(r, 16)} age={r.randrange(3600)}s", 25),
        s("api.login", "api", INFO, lambda r: f"user {r.choice(NAMES)} logged in from {_ip(r)} session={_hex(r, 32)}", 8),
        s("api.slow", "api", WARNING, lambda r: f"slow query {r.randrange(500, 9000)} ms: SELECT * FROM {r.choice(TABLES)} WHERE id = {r.randrange(10**6)}", 2),
        s("api.keyerror", "api", ERROR, _python("KeyError", "'price'", ("/usr/lib/python3.11/site-packages/fastapi/routing.py", "run"), ("/workspace/app/api.py", "price")), 0.4),
        s("frontend.get", "frontend", PLAIN, lambda r: f'{_ip(r)} - - "GET /plots/{_hex(r, 6)} HTTP/1.1" 200 {r.randrange(10**5)}', 40),
        s("frontend.static", "frontend", PLAIN, lambda r: f'{_ip(r)} - - "GET /static/app.{_hex(r, 8)}.js HTTP/1.1" 304 0', 20),
        s("frontend.missing", "frontend", PLAIN, lambda r: f"WARN asset not found: /img/{_hex(r, 10)}.png referer=https://example.com/{r.randrange(999)}", 2),
        s("worker.start", "worker", INFO, lambda r: f"job {_uuid(r)} started queue=default attempt={r.randrange(1, 4)}", 12),
        s("worker.done", "worker", INFO, lambda r: f"job {_uuid(r)} finished in {r.random() * 9:.3f}s", 12),
        s("worker.retry", "worker", WARNING, lambda r: f"job {_uuid(r)} will be retried in {r.randrange(60)}s: upstream timed out", 1),
        s("scheduler.tick", "scheduler", INFO, lambda r: f"tick {r.randrange(10**8)} due={r.randrange(40)} late={r.randrange(3)}", 6),
        s("billing.charged", "billing", INFO, lambda r: f"charged card 4111 1111 1111 {r.randrange(1000, 9999)} amount={r.randrange(1, 900)}.{r.randrange(100):02} EUR", 5),
        s("billing.webhook", "billing", INFO, lambda r: f"webhook evt_{_hex(r, 14)} verified signature={_hex(r, 40)}", 5),
        s("billing.declined", "billing", WARNING, lambda r: f"payment of {r.choice(NAMES)}@example.com declined: insufficient funds code={r.randrange(10, 99)}", 0.8),
        s("billing.java", "billing", ERROR, _java("java.lang.IllegalStateException", "com.pyplots.billing.Invoice.close", "com.pyplots.billing.Run.month", "java.base.Thread.run"), 0.3),
        s("search.query", "search", INFO, lambda r: f'query took {r.randrange(400)} ms hits={r.randrange(900)} shard={r.randrange(12)}', 15),
        s("search.merge", "search", INFO, lambda r: f"merged segment _{_hex(r, 4)} docs={r.randrange(10**6)} size={r.randrange(900)}mb", 4),
        s("search.node", "search", ERROR, _node("TypeError", ("Index.read", "/app/src/index.js"), ("run", "/app/node_modules/lib/run.js")), 0.3),
        s("postgres.checkpoint", "postgres", PLAIN, lambda r: f"LOG: checkpoint complete: wrote {r.randrange(9000)} buffers ({r.random() * 90:.1f}%); sync={r.random():.3f} s", 3),
        s("postgres.conn", "postgres", PLAIN, lambda r: f"LOG: connection authorized: user=app database=pyplots application_name=api host={_ip(r)} port={r.randrange(1024, 65535)}", 6),
        s("postgres.deadlock", "postgres", PLAIN, lambda r: f"ERROR: deadlock detected DETAIL: Process {r.randrange(9999)} waits for ShareLock on transaction {r.randrange(10**7)}", 0.3),
        s("nginx.access", "nginx", PLAIN, lambda r: f"{_ip(r)} POST /v1/events 202 {r.randrange(500)} rt={r.random():.3f} ua=Mozilla", 35),
        s("nginx.upstream", "nginx", PLAIN, lambda r: f"[error] {r.randrange(99)}#{r.randrange(99)}: upstream prematurely closed connection, client: {_ip(r)}", 0.5),
        s("queue.push", "queue", INFO, lambda r: f"enqueued message {_hex(r, 24)} topic=renders partition={r.randrange(8)} offset={r.randrange(10**9)}", 18),
        s("queue.lag", "queue", WARNING, lambda r: f"consumer lag {r.randrange(100, 9000)} on partition {r.randrange(8)}", 1),
        s("mailer.sent", "mailer", INFO, lambda r: f"sent mail to {r.choice(NAMES)}.{_hex(r, 3)}@example.org template=weekly id={_hex(r, 12)}", 5),
        s("mailer.bounce", "mailer", WARNING, lambda r: f"bounce from {r.choice(NAMES)}@example.net reason=mailbox full smtp={r.randrange(400, 599)}", 0.6),
        *_more(),
    )  # fmt: skip


def _more() -> tuple[Statement, ...]:
    """Statements like those that fill real logs: many, and rare. One in eight is an error."""
    kinds = ("api", "frontend", "worker", "scheduler", "billing", "search", "postgres", "nginx", "queue", "mailer")
    verbs = ("loading", "closing", "refreshing", "validating", "scanning", "pruning", "publishing", "checking")
    nouns = ("template", "schema", "bucket", "session", "thumbnail", "index", "subscription", "quota")
    made = []
    for number in range(120):
        service, verb = kinds[number % 10], verbs[number // 10 % 8]
        noun, severity = nouns[(number * 5 + number // 8) % 8], ERROR if number % 8 == 0 else INFO
        text = f"{verb} {noun} of kind {_word(number)} {_word(number * 7 + 3)}"

        def say(r: random.Random, text: str = text) -> str:
            return f"{text} took {r.randrange(900)} ms id={_hex(r, 10)}"

        made.append(Statement(f"more.{number}", service, severity, say, 0.25))
    return tuple(made)


def _word(number: int) -> str:
    syllables = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu")
    return "".join(syllables[int(digit)] for digit in f"{number * 37 % 9973:04}")


def _planted() -> tuple[Statement, ...]:
    s = Statement
    made = [
        s("new.timeout", "api", ERROR, lambda r: f"timed out after {r.randrange(9999)} ms waiting for renderer {_ip(r)}", 0.5, "new"),
        s("new.trace", "worker", ERROR, _python("ZeroDivisionError", "division by zero in job {n}", ("/workspace/worker/scale.py", "ratio"), ("/workspace/worker/main.py", "run")), 0.3, "new"),
        s("new.warn", "mailer", WARNING, lambda r: f"certificate of smtp relay expires in {r.randrange(30)} days serial={_hex(r, 20)}", 0.3, "new"),
        s("new.line", "search", INFO, lambda r: f"falling back to linear scan because shard {r.randrange(12)} has no vectors", 0.5, "new"),
        s("new.java", "billing", ERROR, _java("java.lang.NullPointerException", "com.pyplots.billing.Tax.rate", "com.pyplots.billing.Run.month"), 0.2, "new"),
        s("back.oom", "worker", ERROR, lambda r: f"cannot allocate {r.randrange(10**9)} bytes for canvas {_hex(r, 8)}", 0.5, "regressed"),
        s("back.trace", "api", ERROR, _python("TimeoutError", "pool {n} exhausted", ("/workspace/app/pool.py", "acquire"), ("/workspace/app/api.py", "specs")), 0.3, "regressed"),
        s("back.dns", "queue", ERROR, lambda r: f"lookup broker-{r.randrange(9)}.internal failed: no such host", 0.3, "regressed"),
        s("more.declined", "billing", ERROR, lambda r: f"provider answered {r.randrange(500, 599)} for charge ch_{_hex(r, 14)}", 1.0, "escalating"),
        s("more.retry", "nginx", PLAIN, lambda r: f"WARNING limiting requests, excess: {r.random() * 9:.3f} by zone api, client: {_ip(r)}", 1.5, "escalating"),
        s("more.trace", "search", ERROR, _node("RangeError", ("Heap.grow", "/app/src/heap.js"), ("Index.add", "/app/src/index.js")), 0.8, "escalating"),
        s("gone.heartbeat", "scheduler", INFO, lambda r: f"heartbeat ok uptime={r.randrange(10**7)}s", 2.0, "vanished"),
        s("gone.backup", "postgres", PLAIN, lambda r: f"LOG: archived write-ahead log file {_hex(r, 24).upper()}", 2.0, "vanished"),
        s("gone.sync", "worker", INFO, lambda r: f"sync from repo finished: {r.randrange(900)} specs, {r.randrange(9)} changed", 2.0, "vanished"),
    ]  # fmt: skip
    for number in range(26):  # so that one mistake does not decide on a class
        for kind, weight, severity in (("new", 0.05, ERROR), ("regressed", 0.05, ERROR), ("escalating", 0.2, ERROR),
                                       ("vanished", 1.2, INFO)):  # fmt: skip
            service = ("api", "worker", "billing", "search", "queue")[number % 5]
            text = f"{kind[:3]}ure of {_word(number * 11 + len(kind))} while {_word(number * 13 + 1)} was {_word(number)}"

            def say(r: random.Random, text: str = text) -> str:
                return f"{text} code={r.randrange(999)} ref={_hex(r, 12)}"

            made.append(Statement(f"{kind}.{number}", service, severity, say, weight, kind))
    return tuple(made)


def share(statement: Statement, week: int, day: float) -> float:
    """How often a statement is logged at a time, against its weight. ``week`` is 0 for the oldest of five."""
    last = week == len(WEEKS) - 1
    if statement.planted == "new":
        return float(last and day > 1.5)
    if statement.planted == "regressed":
        return float(week < 2 or last)
    if statement.planted == "escalating":
        return 4.0 if last and day > 2 else 1.0
    if statement.planted == "vanished":
        return float(not last or day < 3)
    return 1.0


def entries(
    week: int,
    count: int,
    calendar: Week | None = None,
    project: str = "corpus",
    seed: int = 7,
    only: frozenset[str] = frozenset(),
) -> Iterator[Any]:
    """So many entries of a week, 0 for the oldest of five, oldest first, as Cloud Logging's raw messages.

    ``only``: the statements of these keys alone, each as often as the others.
    """
    from google.cloud.logging_v2.types import LogEntry

    kind = LogEntry.pb()
    chance = random.Random(f"{seed}/{week}")
    calendar = calendar or Week.named(WEEKS[week], ZONE)
    start, span = calendar.start, (calendar.end - calendar.start).total_seconds()
    lines = tuple(replace(line, weight=1.0) for line in statements() if line.key in only) or statements()
    weights, hour = [], -1
    for number in range(count):
        offset = span * number / count
        if int(offset // 3600) != hour:
            hour = int(offset // 3600)
            weights = _cumulative(lines, week, hour / 24)
        line = chance.choices(lines, cum_weights=weights)[0]
        yield _entry(kind(), line, start + timedelta(seconds=offset), number, project, chance)


def _cumulative(lines: tuple[Statement, ...], week: int, day: float) -> list[float]:
    total, made = 0.0, []
    for line in lines:
        total += line.weight * share(line, week, day)
        made.append(total)
    return made


def _entry(entry: Any, line: Statement, at: datetime, number: int, project: str, chance: random.Random) -> Any:
    if chance.random() < 0.15 and line.service in ("api", "frontend") and not line.planted:
        return _request(entry, line.service, at, number, project, chance)
    entry.log_name = f"projects/{project}/logs/run.googleapis.com%2Fstdout"
    entry.resource.type = "cloud_run_revision"
    entry.resource.labels["service_name"] = line.service
    entry.severity = line.severity
    entry.insert_id = f"{number:012}"
    _stamp(entry, at)
    text = line.say(chance)
    if line.severity and number % 3 == 0:
        entry.json_payload.fields["message"].string_value = text
        entry.json_payload.fields["trace"].string_value = _hex(chance, 32)
    else:
        entry.text_payload = text
    return entry


def _request(entry: Any, service: str, at: datetime, number: int, project: str, chance: random.Random) -> Any:
    entry.log_name = f"projects/{project}/logs/run.googleapis.com%2Frequests"
    entry.resource.type = "cloud_run_revision"
    entry.resource.labels["service_name"] = service
    entry.insert_id = f"{number:012}"
    _stamp(entry, at)
    request = entry.http_request
    request.request_method = "GET"
    request.request_url = f"https://{service}.example.com/{chance.choice(TABLES)}/{chance.randrange(10**6)}?q={chance.random()}"
    request.status = 500 if chance.random() < 0.01 else 200
    request.latency.nanos = int(chance.lognormvariate(-3, 0.7) * 1e9) % 999_999_999
    return entry


def _stamp(entry: Any, at: datetime) -> None:
    since = at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    entry.timestamp.seconds = since.days * 86400 + since.seconds
    entry.timestamp.nanos = since.microseconds * 1000
