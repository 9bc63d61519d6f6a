"""What sizes a pruned language model can have, told from the configuration of the large one alone.

In: a configuration and the sizes wanted. Out: all sizes of the small model and its configuration,
or a refusal. No weights are needed, so that a recipe is checked before anything is loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tutelage.errors import ModelError
from tutelage.models.loading import changed_config

FAMILIES = (
    "llama", "mistral", "ministral", "qwen2", "qwen3", "smollm3", "granite", "gemma", "gemma2",
    "gemma3_text",
)  # fmt: skip
"""Model types whose layers are an attention and a gated feed-forward part between norms, and
nothing else."""
SCALED_BY_WIDTH = ("gemma", "gemma2", "gemma3_text")
"""Families whose embeddings are multiplied by the root of the hidden size: another size would
rescale them."""
DIVIDED_BY_HEADS = ("llama", "gemma2", "gemma3_text")
"""Families whose configuration insists that the hidden size divides into the heads."""
PER_LAYER = ("layer_types", "no_rope_layers")
"""Entries of a configuration that have one value for every layer."""


@dataclass(frozen=True)
class PrunedSizes:
    """The sizes of a language model that pruning changes, and the head width, which it does not."""

    layers: int
    """Layers."""
    hidden_size: int
    """Dimensions of the vector that runs through all layers."""
    heads: int
    """Query heads of a layer."""
    kv_heads: int
    """Key and value heads of a layer; each serves an equal share of the query heads."""
    intermediate_size: int
    """Feed-forward channels of a layer."""
    head_dim: int
    """Width of a head; rotary positions pair up its dimensions, so it stays whole."""

    @classmethod
    def of(cls, config: Any) -> PrunedSizes:
        """The sizes that a configuration of transformers states."""
        heads = config.num_attention_heads
        return cls(
            layers=config.num_hidden_layers,
            hidden_size=config.hidden_size,
            heads=heads,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            intermediate_size=config.intermediate_size,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
        )

    def narrower_than(self, other: PrunedSizes) -> str:
        """Names of the widths that are smaller here than there, joined by commas; empty if none
        is.
        """
        widths = ("hidden_size", "heads", "intermediate_size")
        return ", ".join(name for name in widths if getattr(self, name) < getattr(other, name))


def plan_pruning(
    config: Any,
    *,
    layers: int | None = None,
    hidden_size: int | None = None,
    heads: int | None = None,
    intermediate_size: int | None = None,
) -> PrunedSizes:
    """All sizes of a pruned model, or every reason why there is none.

    Args:
        config: Of the large model.
        layers: How many to keep; None keeps all.
        hidden_size: Dimensions to keep; None keeps all.
        heads: Query heads to keep in every layer; None keeps all.
        intermediate_size: Feed-forward channels to keep in every layer; None keeps all.

    Returns:
        The sizes, those that were not given as they are.

    Raises:
        ModelError: The model is not of a family that can be pruned.
        ValueError: Sizes that do not fit, all of them in one message.

    Example:
        >>> from transformers import LlamaConfig
        >>> plan_pruning(LlamaConfig(hidden_size=576, num_attention_heads=9, num_key_value_heads=3),
        heads=6).kv_heads 3
    """
    if config.model_type not in FAMILIES:
        raise ModelError(
            f"models of type {config.model_type} cannot be pruned, only {', '.join(FAMILIES)}: use "
            "kind: transformer "
            "for a fresh student, or a teacher of one of these types"
        )
    full = PrunedSizes.of(config)
    asked = {
        "layers": layers,
        "hidden_size": hidden_size,
        "heads": heads,
        "intermediate_size": intermediate_size,
    }
    changes = {name: size for name, size in asked.items() if size is not None}
    problems = [
        f"{name} is {size}: a pruned model keeps 1 to {getattr(full, name)} of what the large one "
        "has"
        for name, size in changes.items()
        if not 1 <= size <= getattr(full, name)
    ]
    if problems:
        raise ValueError("; ".join(problems))
    sizes = replace(full, **changes)
    sizes = replace(sizes, kv_heads=_kv_heads(full, sizes.heads))
    if not sizes.kv_heads:
        possible = [count for count in range(1, full.heads + 1) if _kv_heads(full, count)]
        problems.append(
            f"heads is {sizes.heads}: the {full.heads} heads share {full.kv_heads} keys and values "
            "in equal groups, so "
            f"{', '.join(map(str, possible))} can be kept"
        )
    family, wanted = config.model_type, sizes.hidden_size
    if wanted < full.hidden_size and family in SCALED_BY_WIDTH:
        problems.append(
            f"hidden_size is {wanted}: models of type {family} multiply embeddings by the root of "
            "the hidden size, so "
            f"it has to stay {full.hidden_size}; prune layers, heads or intermediate_size"
        )
    elif sizes.kv_heads and family in DIVIDED_BY_HEADS and wanted % sizes.heads:
        fits = max(wanted // sizes.heads, 1) * sizes.heads
        problems.append(
            f"hidden_size {wanted} does not divide into {sizes.heads} heads, which models of type "
            f"{family} insist on: "
            f"take hidden_size {fits}, or other heads"
        )
    if problems:
        raise ValueError("; ".join(problems))
    return sizes


def pruned_config(config: Any, sizes: PrunedSizes, *, kept_layers: Sequence[int]) -> Any:
    """The configuration of a pruned model.

    Args:
        config: Of the large model; left as it was.
        sizes: From `plan_pruning`.
        kept_layers: Numbers of the layers that stay, ascending, as many as `sizes.layers`.

    Returns:
        A configuration of the same class.
    """
    changes: dict[str, Any] = {
        "num_hidden_layers": sizes.layers,
        "hidden_size": sizes.hidden_size,
        "num_attention_heads": sizes.heads,
        "num_key_value_heads": sizes.kv_heads,
        "intermediate_size": sizes.intermediate_size,
    }
    # Some classes have no head width of their own and take it from the other two; stated, it holds
    # for them as well.
    if hasattr(config, "head_dim") or sizes.head_dim * sizes.heads != sizes.hidden_size:
        changes["head_dim"] = sizes.head_dim
    for name in PER_LAYER:
        values = getattr(config, name, None)
        if values is not None:
            changes[name] = [values[index] for index in kept_layers]
    return changed_config(config, changes)


def _kv_heads(full: PrunedSizes, heads: int) -> int:
    """The most key heads that so many query heads can share in equal groups no larger than before;
    0 if none can.
    """
    each = full.heads // full.kv_heads
    fits = (
        count
        for count in range(full.kv_heads, 0, -1)
        if heads % count == 0 and heads // count <= each
    )
    return next(fits, 0)
