"""Keeps a page that was made as one HTML file.

Safety property: the file is written to a name of its own, in the bucket and in the state folder, and holds no login.
The same page written again is the same object.
"""

from __future__ import annotations

from tasks.pages import Page, render
from tasks.site import Site


def keep(site: Site, name: str, page: Page) -> str:
    """Write a page as the object ``name``, and as a file of that name below the state folder; where it is opened."""
    html = render(page)
    site.bucket.put(name, html.encode(), "text/html; charset=utf-8")
    file = site.settings.state / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(html)
    return site.bucket.link(name)
