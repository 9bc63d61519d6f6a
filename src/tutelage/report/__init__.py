"""One self-contained HTML page that says how much of the teacher survived and what it costs.

A run folder comes in, `report.html` goes out. Nothing on the page is fetched from anywhere, and
nothing here imports torch.
"""

from tutelage.report.page import write_report

__all__ = ["write_report"]
