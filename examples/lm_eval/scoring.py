"""How documents_with_end.yaml counts: the end token costs nats, but spells no byte."""

from __future__ import annotations

from typing import Any


def nats_of_text_and_end(
    document: dict[str, Any], results: list[float]
) -> dict[str, tuple[float, int]]:
    """The log-likelihood of text and end token, in nats, with the UTF-8 bytes of the text alone."""
    (loglikelihood,) = results
    return {"bits_per_byte": (loglikelihood, len(document["text"].encode("utf-8")))}
