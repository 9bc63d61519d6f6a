"""What was seen while rows became documents that a person should know, though it stops nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tutelage.data.documents.control_tokens import ControlTokens, texts_in
from tutelage.data.rows import Problems, shown

ControlAs = Literal["text", "tokens"]
"""What becomes of control tokens that texts spell."""


@dataclass
class Notes:
    """What rows were like, in the order of the file."""

    control: ControlTokens
    """The control tokens of the tokenizer."""

    control_as: ControlAs | None = None
    """What becomes of those that texts spell; None: text, and a warning."""

    spelled: list[tuple[int, int, str]] = field(default_factory=list)
    """Rows that spell control tokens: number, how often, the first one."""

    made: list[tuple[int, int]] = field(default_factory=list)
    """Rows whose spellings became control tokens though they are text: number, how often."""

    headers: list[tuple[int, str]] = field(default_factory=list)
    """Rows that train what the template writes before an answer: number, what it writes."""

    def see(self, value: Any, number: int) -> None:
        """Look for control tokens in what stands in a row: a text, or messages."""
        found = [
            text[slice(*span)] for text in texts_in(value) for span in self.control.spelled(text)
        ]
        if found:
            self.spelled.append((number, len(found), found[0]))

    def warn(self, problems: Problems) -> None:
        """Say what was seen."""
        if self.headers:
            first, header = self.headers[0]
            problems.add_warning(
                "the chat template writes nothing for add_generation_prompt, so the student is "
                f"also trained to write what comes before an answer, {shown(header)}, in "
                f"{_rows(self.headers)}, for instance row {first}; to train answers alone, give "
                "the teacher a template that writes it where add_generation_prompt is true"
            )
        if not self.spelled or (self.control_as == "text" and not self.made):
            return
        first, _, token = self.spelled[0]
        times = sum(count for _, count, _ in self.spelled)
        many = f"{times:,} control tokens are" if times > 1 else "1 control token is"
        said = (
            f"{many} spelled in the text of {_rows(self.spelled)}, for instance {token} in row "
            f"{first}; "
        )
        if self.control_as == "tokens":
            problems.add_warning(
                said + "as data.control_tokens says they are read as the tokens, which end turns "
                "and begin them"
            )
        elif self.made:
            left = sum(count for _, count in self.made)
            problems.add_warning(
                said + f"the tokenizer reads {left:,} of them as the tokens all the same, for "
                f"instance in row {self.made[0][0]}: take them out of the text"
            )
        else:
            problems.add_warning(
                said + "they are read as text; where rows were rendered with a chat template "
                "before, set data.control_tokens: tokens"
            )


def _rows(rows: Sequence[Any]) -> str:
    return f"{len(rows):,} rows" if len(rows) > 1 else "1 row"
