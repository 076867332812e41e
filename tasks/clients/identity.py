"""Who we are to a Cloud Run service that is not open to the public.

Safety property: the token is a header of one request and stands in no log and no message.
"""

from __future__ import annotations

from tasks.clients.google import Google


def headers_for(google: Google, url: str) -> dict[str, str]:
    """The header that lets us in at a private service; none on the local cloud, which lets everybody in.

    See https://cloud.google.com/run/docs/authenticating/service-to-service. Raises NotAllowed or TransientError.
    """
    if google.local:
        return {}
    from google.auth.transport.requests import Request
    from google.oauth2 import id_token

    with google.doing(f"getting an identity token for {url}", "roles/run.invoker"):
        token = id_token.fetch_id_token(Request(), url)
    return {"Authorization": f"Bearer {token}"}
