"""The model card of a GGUF file, and what its reader does to texts that are not composed.

In: a student, and facts of its export. Out: Markdown as the Hugging Face hub reads it; how many
texts llama.cpp reads as other tokens, because it leaves a tokenizer's normalizer out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from tutelage.export.card import cell

if TYPE_CHECKING:
    from tutelage.export.subject import Subject

ODD_TEXTS = (
    "café", "L'été dernier, Zoë – naïve – said no", "Ångström", "Tiếng Việt", "한국어 문장",
    "がぎぐげご", "Čeština je těžká", "İstanbul", "Øre, façade", "plain text",
)  # fmt: skip
"""Most of them are other code points when letters and marks are taken apart."""


def normalization(student: Path, texts: Sequence[str] = ODD_TEXTS) -> dict[str, Any]:
    """Facts about what llama.cpp leaves out before it splits; nothing where that is nothing.

    Args:
        student: Its folder, with `tokenizer.json`.
        texts: Tried decomposed (NFD).

    Returns:
        `normalizer`, `decomposed_texts`, and of these `decomposed_read_otherwise`, whose tokens are
        not the student's without the normalizer.
    """
    from tokenizers import Tokenizer

    settings = json.loads((student / "tokenizer.json").read_text("utf-8"))
    normalizer = settings.get("normalizer")
    if normalizer is None:
        return {}
    with_it = Tokenizer.from_str(json.dumps(settings))
    without = Tokenizer.from_str(json.dumps({**settings, "normalizer": None}))
    decomposed = [normalize("NFD", text) for text in texts]
    other = sum(
        with_it.encode(text, add_special_tokens=False).ids
        != without.encode(text, add_special_tokens=False).ids
        for text in decomposed
    )
    return {
        "normalizer": normalizer["type"],
        "decomposed_texts": len(decomposed),
        "decomposed_read_otherwise": other,
    }


def gguf_card(subject: Subject, facts: Mapping[str, Any]) -> str:
    """The model card.

    Args:
        subject: The student.
        facts: Of the file and its comparison, as `parity.json` has them.

    Returns:
        Markdown that ends with a line end; the same facts give the same text.
    """
    from huggingface_hub import ModelCardData
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tutelage.export", "templates"),
        undefined=StrictUndefined,
        autoescape=False,  # it is Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"cell": cell, "count": lambda number: f"{number:,}"}
    head = ModelCardData(
        license="unknown",
        library_name="gguf",
        pipeline_tag="text-generation",
        tags=["tutelage", "knowledge-distillation", "gguf"],
    )
    told = subject.origin.facts.get("teacher") or {}
    return environment.get_template("gguf_card.md.j2").render(
        head=head.to_yaml(line_break="\n"),
        name=subject.name,
        facts={"normalizer": None, **facts},
        teacher={key: told.get(key) for key in ("model", "kind", "description")},
        numbers=_numbers(subject.origin.numbers.get(subject.name) or {}),
    )


def _numbers(measured: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Measures with a value, and an interval where there is one."""
    found = []
    for name, one in measured.items():
        value = one.get("value") if isinstance(one, Mapping) else one
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        low, high = (one.get("low"), one.get("high")) if isinstance(one, Mapping) else (None, None)
        spread = "" if low is None or high is None else f" [{low:.4g}, {high:.4g}]"
        found.append((name.replace("_", " "), f"{value:.4g}{spread}"))
    return found
