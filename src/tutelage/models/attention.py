"""The attention of a model: what it is called, and another one in its place for a while.

transformers keeps both in private attributes, so they are read and set here and nowhere else. With
a version that was not tested (see `versions`) nothing is known of any model, and callers take the
stock way: one document in a row, every prompt run whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tutelage.models.versions import transformers_was_tested


def attention_of(model: Any) -> str | None:
    """The name of the attention that a model uses, for instance `sdpa`.

    Args:
        model: Of transformers.

    Returns:
        None where the version of transformers is not one that was tested.
    """
    if not transformers_was_tested():
        return None
    return model.config.get_text_config()._attn_implementation


def asks_for_its_attention(model: Any) -> bool:
    """True if the layers of a model ask transformers for their attention by its name, so that
    another one can be put in its place.
    """
    return transformers_was_tested() and bool(model._supports_attention_backend)


def keeps_a_state(model: Any) -> bool:
    """True for a model that carries a state from token to token, which masks do not reach."""
    return bool(model._is_stateful)


@contextmanager
def attending_by(model: Any, name: str, attend: Callable[..., Any]) -> Iterator[None]:
    """Have the layers of a model attend another way inside; as before afterwards.

    Args:
        model: One that `asks_for_its_attention`.
        name: Of the other way; masks are not made for it.
        attend: As transformers calls it: module, query, key, value, mask and settings.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(name, attend)
    config = model.config.get_text_config()
    before = config._attn_implementation_internal
    config._attn_implementation_internal = name
    try:
        yield
    finally:
        config._attn_implementation_internal = before
