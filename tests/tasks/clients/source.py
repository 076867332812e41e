"""A service in one file that needs nothing but Python, as an archive that Cloud Build takes."""

from __future__ import annotations

import io
import tarfile

SERVER = '''
import json, os, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(float(os.environ.get("DELAY", "0")))
        seen = {name: os.environ.get(name, "") for name in ("GREETING", "TOKEN", "K_REVISION", "K_SERVICE")}
        body = json.dumps(seen).encode()
        self.send_response(int(os.environ.get("STATUS", "200")))
        self.send_header("x-revision", os.environ["K_REVISION"])
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

if os.environ.get("DIE"):
    raise SystemExit("no good start")
ThreadingHTTPServer(("0.0.0.0", int(os.environ["PORT"])), Answer).serve_forever()
'''
JOB = '''
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
print("working with", sys.argv[1:], os.environ.get("MODE", ""), flush=True)
if "sleep" in sys.argv:
    time.sleep(60)
sys.exit(3 if "fail" in sys.argv else 0)
'''
FILES = {"Procfile": "web: python server.py\n", "requirements.txt": "", "server.py": SERVER, "job.py": JOB}


def archive(files: dict[str, str] | None = None) -> bytes:
    """The source as a gzipped tar."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, text in (files or FILES).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    return data.getvalue()
