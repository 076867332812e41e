"""Reports that a person opens in a browser: charts as inline SVG, one self-contained HTML file.

Safety property: the same values give the same bytes, and the file asks nobody for anything: no script, no font, no
picture from elsewhere.
"""

from tasks.pages.charts import Band, Chart, Series, bar_chart, line_chart
from tasks.pages.page import Page, Section, Table, render
from tasks.pages.sparkline import Sparkline

__all__ = [
    "Band",
    "Chart",
    "Page",
    "Section",
    "Series",
    "Sparkline",
    "Table",
    "bar_chart",
    "line_chart",
    "render",
]
