"""The address and the well-known ports of a stack's servers. It imports nothing: help and status are to be quick."""

from __future__ import annotations

LOOPBACK = "127.0.0.1"
UI_PORT = 4200
WEBHOOKS_PORT = 4210
