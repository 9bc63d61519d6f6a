"""One self-contained HTML page that says how much of the teacher survived and what it costs.

A run folder and the words of its task come in, `report.html` goes out. What differs between tasks
is all in `words.TaskWords`; nothing else here knows of any task. Nothing on the page is fetched
from anywhere, and nothing here imports torch.
"""

from tutelage.report.page import write_report
from tutelage.report.words import TaskWords

__all__ = ["TaskWords", "write_report"]
