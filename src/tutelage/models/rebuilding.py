"""A model of the same class with another configuration and given weights.

In: a model, a configuration, weights by name. Out: a fresh stock model that holds these weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tutelage.models.attention import attention_of
from tutelage.models.registration import register

OF_A_FILE = ("_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype")
"""Entries of a configuration that say where a model comes from, not what it is."""


def changed_config(config: Any, changes: Mapping[str, Any]) -> Any:
    """A configuration like another one but for some entries.

    Args:
        config: A configuration of transformers; left as it was.
        changes: New values by name; may name entries that the class does not list.

    Returns:
        A configuration of the same class.
    """
    entries = {name: value for name, value in config.to_dict().items() if name not in OF_A_FILE}
    return type(config)(**{**entries, **changes})


def rebuild(model: Any, config: Any, weights: Mapping[str, Tensor]) -> Any:
    """A model of the same class as another, with given weights, in float32 on the CPU.

    Built anew rather than cut in place, so that whatever a layer takes from the configuration (its
    number in the cache, its kind of attention, its scale) is right. In float32, since these weights
    are going to be trained: a step of an optimiser is often smaller than the spacing of bfloat16.

    Args:
        model: Gives class, attention implementation and settings of generation; left as it was.
        config: Of the new model.
        weights: All entries of its state, by name.

    Returns:
        The model, in training mode.
    """
    from transformers.initialization import no_init_weights

    attention = attention_of(model)
    with no_init_weights():  # random numbers that the weights would only replace
        if attention is None:
            rebuilt = type(model)(config).float()
        else:
            rebuilt = type(model)._from_config(
                config, dtype=torch.float32, attn_implementation=attention
            )
    rebuilt.tie_weights()
    rebuilt.load_state_dict(dict(weights), strict=True)
    if getattr(model, "generation_config", None) is not None:
        rebuilt.generation_config = copy.deepcopy(model.generation_config)
    return rebuilt.train()


def empty_model(config: Any) -> Any:
    """A causal language model without weights: it takes no memory, and knows its shapes.

    Args:
        config: A configuration of transformers.

    Returns:
        The model on the meta device.
    """
    from transformers import AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    register()
    with torch.device("meta"), no_init_weights():
        model = AutoModelForCausalLM.from_config(config)
    model.tie_weights()
    return model
