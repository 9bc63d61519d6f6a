"""What each word of a text moved the answer of a fitted teacher by.

In: a teacher's model, which classifies by itself, and what is known of it. Out: what explains one
text after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tutelage.models.computing import readable_tokens
from tutelage.models.contributions import Contributions
from tutelage.models.gradients import blank_vector, integrated_gradients
from tutelage.models.loading import LanguageModel
from tutelage.models.reading import padding_id
from tutelage.teachers.classifier.folder import Description


def gradients_of(
    language_model: LanguageModel, description: Description, columns: Sequence[int]
) -> Callable[[str], Contributions]:
    """Integrated gradients of texts, see `models.gradients`.

    Args:
        language_model: A sequence classifier of float32; of adapters those in force answer.
        description: Template, longest text and temperature of the teacher.
        columns: The output of each label.
    """
    model, tokenizer = language_model.model, language_model.tokenizer
    blank = blank_vector(model, tokenizer)
    before = description.template.index("{text}")
    longest = readable_tokens(model, description.max_length)

    def explained(text: str) -> Contributions:
        encoded = tokenizer(
            description.template.replace("{text}", text),
            truncation=True,
            max_length=longest,
            return_offsets_mapping=True,
            split_special_tokens=True,
        )
        # What the template says is no part of the text, and stays as it is.
        places = [
            (max(begin - before, 0), max(min(end - before, len(text)), 0))
            for begin, end in encoded["offset_mapping"]
        ]
        ids = encoded["input_ids"] or [padding_id(tokenizer, len(tokenizer))]
        found = integrated_gradients(model, ids, places or [(0, 0)], text, blank=blank)
        scale = description.temperature
        return replace(
            found,
            words=found.words[:, list(columns)] / scale,
            logits=found.logits[list(columns)] / scale,
            baseline=found.baseline[list(columns)] / scale,
        )

    return explained
