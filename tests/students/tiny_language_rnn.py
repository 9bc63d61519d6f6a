"""Tiny recurrent language models of every shape, and a prompt for them."""

import copy

import torch

from tutelage.students import RecurrentForCausalLM, RecurrentLanguageConfig

VOCABULARY = 40
BEGIN, END = 1, 2


def tiny(seed=0, **shape):
    shape = {"embedding_size": 6, "hidden_size": 5, "layers": 2, "embedding_std": 1.0, **shape}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = RecurrentLanguageConfig(
            vocab_size=VOCABULARY, bos_token_id=BEGIN, eos_token_id=END, pad_token_id=0, **shape
        )
        return RecurrentForCausalLM(config).eval()


MODELS = {
    "gru": tiny(),
    "lstm": tiny(cell="lstm"),
    "one width": tiny(embedding_size=5),
    "one layer": tiny(layers=1),
}
# Layers of five values normalise now and then by almost nothing, which blows up the rounding of
# float32.
PRECISE = {name: copy.deepcopy(model).double() for name, model in MODELS.items()}
PROMPT = torch.tensor([[1, 7, 3, 9], [1, 4, 4, 8]])


def shape_of(model):
    return {
        name: getattr(model.config, name)
        for name in ("cell", "layers", "embedding_size", "hidden_size")
    }
