"""Whether answers may train another model: what the user says, and what providers are known for."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

Terms = Literal["allowed", "unknown", "forbidden"]

KNOWN_TO_FORBID = {
    "typesafe.ai": "its agreement (MCA 2.3(b)) forbids training on what it answers",
    "anthropic.com": "its commercial terms forbid training models that compete with it",
    "openai.com": "its terms forbid training models that compete with it",
}
"""By the end of a host name, what providers are known to say (2026). Terms change, and a contract
of your own may say otherwise: read them."""


def known_terms(base_url: str) -> str | None:
    """What is known of the terms of whoever answers at an address; None: nothing."""
    host = urlsplit(base_url).hostname or ""
    for end, said in KNOWN_TO_FORBID.items():
        if host == end or host.endswith(f".{end}"):
            return said
    return None


def terms_problem(base_url: str, terms: Terms | None, *, local: bool) -> str | None:
    """What keeps a run from training on a provider's answers.

    Args:
        base_url: Where it answers.
        terms: What the recipe says; None: nothing.
        local: Whether it is a server of one's own.

    Returns:
        A sentence that says what to do; None where nothing does.
    """
    if terms == "forbidden":
        return (
            "the terms of this provider forbid training on its answers, as this recipe says: take "
            "another teacher, such as an open model on a server of your own"
        )
    if terms is None and not local:
        known = known_terms(base_url)
        so = f" ({urlsplit(base_url).hostname}: {known})" if known else ""
        return (
            f"may answers of {base_url} train another model? Read the provider's terms{so} and "
            "say what they say, terms: allowed, unknown or forbidden; the report repeats it"
        )
    return None
