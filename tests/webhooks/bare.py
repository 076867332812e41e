"""``python -m tests.webhooks.bare PORT``: a FastAPI route that verifies the signature and does nothing else.

What the receiver is compared with: the same server, the same proof, no limits, no inbox.
"""

from __future__ import annotations

import hashlib
import hmac
import sys

import uvicorn
from fastapi import FastAPI, Request, Response

SECRET = b"the-secret-of-the-bare-route/+="
app = FastAPI()


@app.post("/hooks/github")
async def hooks(request: Request) -> Response:
    expected = "sha256=" + hmac.new(SECRET, await request.body(), hashlib.sha256).hexdigest()
    proved = hmac.compare_digest(expected, request.headers.get("x-hub-signature-256", ""))
    return Response(status_code=202 if proved else 401)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
