"""Prints a secret of the estate's cloud, to try a webhook on the embedded stack: python local_secret.py github-webhook

For a real project there is gcloud: gcloud secrets versions access latest --secret=github-webhook
"""

import sys
from pathlib import Path

from tasks.models import SecretPin
from tasks.site import open_site

print(open_site(Path("estate.toml")).secrets.access(SecretPin(secret=sys.argv[1], version="latest")).get_secret_value())
