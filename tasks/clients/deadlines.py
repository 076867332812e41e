"""How long a client waits for one call, and for one of the cloud's own operations.

No call is made without one of these: a task's ``timeout_seconds`` does not interrupt a blocking call.
"""

from __future__ import annotations

from datetime import timedelta

CALL = timedelta(seconds=30)
TRANSFER = timedelta(minutes=10)
REVISION = timedelta(minutes=10)
DELETION = timedelta(minutes=5)
JOB_CREATION = timedelta(minutes=5)
TRAFFIC = timedelta(minutes=2)
BUILD = timedelta(minutes=30)
EXECUTION = timedelta(minutes=60)
SQL_OPERATION = timedelta(minutes=90)
QUERY = timedelta(minutes=4)
#: GitHub gives a receiver ten seconds: https://docs.github.com/en/webhooks/using-webhooks/best-practices-for-using-webhooks
ACKNOWLEDGEMENT = timedelta(seconds=8)

CALL_SECONDS = CALL.total_seconds()

#: What a PostgreSQL session of ours may take: to connect, for one statement, for a lock.
CONNECT = timedelta(seconds=10)
STATEMENT = timedelta(seconds=60)
LOCK = timedelta(seconds=5)
#: One statement that reads a whole table: a hundred gigabytes at 30 MB/s.
WHOLE_TABLE = timedelta(hours=1)
#: One statement that measures an index or a table which is only suspected.
MEASUREMENT = timedelta(minutes=5)
