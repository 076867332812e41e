"""Stack traces are known by what was raised and by the application's own frames."""

from __future__ import annotations

import pytest

from tasks.analysis.log_tally import LineKey, Tally
from tasks.analysis.stack_traces import holds_trace, read_trace
from tasks.log_models import Entry

PYTHON = """Traceback (most recent call last):
  File "/layers/google.python.pip/pip/lib/python3.11/site-packages/starlette/routing.py", line 70, in app
    await run(secret="hunter2")
  File "/workspace/app/api.py", line {line}, in price
    return prices[name]
KeyError: 'bob@example.com'
"""
CHAINED = (
    PYTHON.format(line=12)
    + """
During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/workspace/app/main.py", line 3, in handler
    raise Broken("order 17")
app.errors.Broken: order 17
"""
)
UNIQUE = """Traceback (most recent call last):
  File "/workspace/app/db.py", line {line}, in save
    cursor.execute(sql)
psycopg.errors.UniqueViolation: duplicate key value violates unique constraint "people_pkey"
DETAIL:  Key (name)=(Jane) already exists.
hunter2
"""
NODE = """TypeError: Cannot read properties of undefined (reading 'id')
    at Object.render (/app/src/page.js:{line}:17)
    at async run (/app/node_modules/next/server.js:1:2)
"""
JAVA = """java.lang.IllegalStateException: order 17 of bob@example.com
\tat com.pyplots.Invoice.close(Invoice.java:{line})
\tat org.springframework.web.Run.go(Run.java:1)
Caused by: java.sql.SQLException: closed
\tat com.pyplots.Db.read(Db.java:9)
"""
GO = """panic: runtime error: index out of range [5] with length 3

goroutine 1 [running]:
main.main()
\t/app/main.go:{line} +0x1d
"""


@pytest.mark.parametrize(
    ("trace", "template"),
    [
        (PYTHON, "KeyError at app/api.py:price"),
        (UNIQUE, "psycopg.errors.UniqueViolation at app/db.py:save"),
        (NODE, "TypeError at src/page.js:Object.render"),
        (JAVA, "java.sql.SQLException at :com.pyplots.Invoice.close < :com.pyplots.Db.read"),
        (GO, "panic at main.go"),
    ],
    ids=["python", "a message of several lines", "node", "java", "go"],
)
def test_a_trace_is_known_by_type_and_own_frames_whatever_the_line_numbers(trace: str, template: str) -> None:
    assert holds_trace(trace)
    assert read_trace(trace.replace("{line}", "17")).template == template
    assert read_trace(trace.replace("{line}", "99")).template == template


def test_of_chained_exceptions_the_last_one_counts() -> None:
    assert read_trace(CHAINED).template.startswith("app.errors.Broken at app/main.py:handler < app/api.py:price")


def test_neither_source_lines_nor_messages_nor_forged_frames_bring_a_secret_in() -> None:
    forged = PYTHON.format(line=1).replace("/workspace/app/api.py", "/workspace/bob@example.com/password=hunter2.py")
    for trace in (PYTHON.format(line=1), forged):
        template = read_trace(trace).template
        assert "hunter2" not in template
        assert "bob" not in template


def lines_of(text: str, source: str, at: float) -> list[Entry]:
    return [Entry(at + i / 100, "api", "stderr", 0, line, 10, source) for i, line in enumerate(text.splitlines())]


def test_traces_that_two_instances_print_line_by_line_at_once_are_put_together() -> None:
    one, two = lines_of(PYTHON.format(line=1), "i1", 0.0), lines_of(PYTHON.format(line=2), "i2", 0.005)
    tally = Tally(0.0)
    tally.take(sorted([*one, *two, Entry(9, "api", "stderr", 0, "ready", 10, "i1")]))
    tally.close()
    assert tally.lines[LineKey("api", "error", "stack", "KeyError at app/api.py:price")].count == 2
    assert tally.lines[LineKey("api", "info", "line", "ready")].count == 1
    assert len(tally.lines) == 2


def test_a_trace_that_is_cut_off_by_the_weeks_end_is_counted() -> None:
    tally = Tally(0.0)
    tally.take(lines_of(PYTHON.format(line=1), "i1", 0.0)[:-1])
    tally.close()
    assert [key.kind for key in tally.lines] == ["stack"]
