"""A line as small as a word, for a cell of a table: the weeks of one pattern, the days of one SKU."""

from __future__ import annotations

from markupsafe import Markup

from tasks.models import Frozen

WIDTH, HEIGHT = 80, 18


class Sparkline(Frozen):
    """Values in their order, oldest first; ``words`` say what a screen reader reads."""

    values: tuple[float, ...]
    words: str = ""

    def __html__(self) -> str:
        return Markup(
            '<svg class="spark" viewBox="0 0 {w} {h}" role="img" aria-label="{words}">'
            '<polyline points="{points}" fill="none" stroke="currentColor" stroke-width="1.5"/></svg>'
        ).format(w=WIDTH, h=HEIGHT, words=self.words or self._as_words(), points=self._points())

    def _points(self) -> str:
        values = self.values if len(self.values) > 1 else self.values * 2
        top = max(values, default=0.0) or 1.0
        step = (WIDTH - 2) / max(1, len(values) - 1)
        inside = HEIGHT - 2
        return " ".join(f"{1 + i * step:.1f},{1 + inside - inside * v / top:.1f}" for i, v in enumerate(values))

    def _as_words(self) -> str:
        return ", ".join(f"{value:g}" for value in self.values)
