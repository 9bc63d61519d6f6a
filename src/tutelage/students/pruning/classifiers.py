"""A classifier that is a teacher with fewer layers.

In: a teacher's model, which classifies, scores tokens or has no head at all. Out: a sequence
classifier with its embeddings, some of its layers and, where it has one, its head, and the
tokenizer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import processors
from torch import Tensor, nn

from tutelage.errors import ModelError
from tutelage.models.attention import attention_of
from tutelage.models.computing import readable_tokens
from tutelage.models.loading import changed_config, rebuild
from tutelage.models.output import below_adapters
from tutelage.models.pretrained import quiet
from tutelage.students.classifier.partial import head_weights, layers_of
from tutelage.students.classifier.pooled import LAST_NORMS, PooledForSequenceClassification
from tutelage.students.classifier.pruned import LayerChoice, too_many
from tutelage.students.configurations import PooledConfig, are_generic, label_names
from tutelage.students.pruning.plan import PER_LAYER
from tutelage.students.pruning.pruning import keep_layers
from tutelage.students.vocabulary.cutting import trim_vocabulary
from tutelage.types import same_name

CALIBRATION_TOKENS = 4096
"""On which layers are ranked by their influence."""
CHECKED_TEXTS = 64
"""Texts that both tokenizers encode, to see that they do it alike."""
UNKNOWN_POOLING = ("mean", "last")
"""Of a student whose teacher does not pool."""
ADVICE = "take a student of another kind, or another teacher"


def prune_classifier(
    language_model: Any,
    *,
    labels: Sequence[str],
    layers: int,
    choice: LayerChoice = "first",
    texts: Sequence[str] = (),
    trims_vocabulary: bool = False,
    max_length: int = 512,
    seed: int = 0,
) -> tuple[Any, Any]:
    """A classifier with some of a teacher's layers, weights unchanged, and its tokenizer.

    A teacher that is a sequence classifier stays of its class, with its head. Of any other the
    states are pooled: as the linear head on top of it does, if it has one (`reads`), which becomes
    the student's; with all layers that this head reads the student answers as its teacher.

    Args:
        language_model: `model` and `tokenizer`; perhaps `reads`, see
            `teachers.classifier.read_model`.
        labels: Class names in the order of the logits.
        layers: How many stay.
        choice: Which, see `PrunedClassifier`.
        texts: What the vocabulary is cut to, and what layers are ranked on.
        trims_vocabulary: Keep only the tokens that the texts need.
        max_length: Where texts are truncated, in tokens.
        seed: Of a fresh head.

    Returns:
        The model, in float32, on the CPU, in training mode; the tokenizer, padding on the right.

    Raises:
        ModelError: The teacher has fewer layers, its layers are not one list, or its tokenizer
            cannot be cut.
    """
    model, name = without_adapters(language_model.model), name_of(language_model)
    reads = getattr(language_model, "reads", None)
    blocks = layers_of(model, name=name, advice=ADVICE)
    depth = read_depth(model, reads, name=name)
    if layers > depth:
        raise ModelError(f"layers {too_many(layers, len(blocks), depth)}")
    tokenizer = _own_tokenizer(language_model.tokenizer, model, max_length=max_length)
    kept = _kept_layers(model, list(blocks)[:depth], tokenizer, texts, layers=layers, choice=choice)
    student = cut_layers(model, kept, labels=labels, tokenizer=tokenizer, reads=reads, seed=seed)
    if trims_vocabulary:
        encoded = tokenizer(list(texts), split_special_tokens=True, verbose=False)["input_ids"]
        used = {index for ids in encoded for index in ids}
        student, tokenizer, _ = trim_vocabulary(
            student, tokenizer, used, texts=texts[:CHECKED_TEXTS], spells_all=False
        )
    student.config.kept_layers = list(kept)
    return student.train(), tokenizer


def read_depth(model: Any, reads: Any, *, name: str) -> int:
    """How many layers make an answer of a teacher: all, or those up to the deepest one that its
    linear head reads.
    """
    depth = len(layers_of(model, name=name, advice=ADVICE))
    return depth if reads is None else min(depth, max(reads.layers))


def cut_layers(
    model: Any,
    kept: Sequence[int],
    *,
    labels: Sequence[str],
    tokenizer: Any,
    reads: Any = None,
    seed: int = 0,
) -> Any:
    """A classifier with the given layers of a model.

    Args:
        model: Without adapters; left as it was.
        kept: Numbers of the layers that stay, ascending.
        labels: Class names in the order of the logits.
        tokenizer: With the token that begins every text, if there is one.
        reads: How the teacher's linear head reads the states, if it has one.
        seed: Of a fresh head.
    """
    if is_classifier(model):
        config, weights = _of_layers(model, kept)
        config.id2label, config.label2id = label_names(labels)
        student = rebuild(model, config, weights)
        _order_classes(student, model.config.id2label, labels)
        return student
    backbone = model.base_model
    config, weights = _of_layers(backbone, kept)
    config.bos_token_id = config.eos_token_id = None  # only generation asks for them
    names, indexes = label_names(labels)
    pooled = PooledConfig(
        text_config=config,
        pooling=UNKNOWN_POOLING if reads is None else reads.pooling,
        plain_norm=reads is not None and max(reads.layers) < len(layers_of(model, name="it")),
        begin_token_id=tokenizer.bos_token_id,
        pad_token_id=config.pad_token_id,
        id2label=names,
        label2id=indexes,
    )
    inside = {
        f"model.{name}": weight
        for name, weight in weights.items()
        if not name.startswith("pooler.")
        and not (pooled.plain_norm and name.split(".")[0] in LAST_NORMS)
    }
    return _filled(pooled, inside | _first_head(pooled, reads, seed), attention_of(backbone))


def is_classifier(model: Any) -> bool:
    """Whether it already makes classes of its states, by a head of its own."""
    return type(model).__name__.endswith("ForSequenceClassification")


def _filled(config: Any, weights: Mapping[str, Tensor], attention: str | None) -> Any:
    from transformers.initialization import no_init_weights

    options = {} if attention is None else {"attn_implementation": attention}
    with no_init_weights(), quiet():
        student = PooledForSequenceClassification._from_config(
            config, dtype=torch.float32, **options
        )
    student.load_state_dict(dict(weights), strict=True)
    return student.train()


def _first_head(config: Any, reads: Any, seed: int) -> dict[str, Tensor]:
    """The teacher's linear head where it reads one layer, as it does for new texts; else a small
    random one.
    """
    if reads is not None and len(reads.layers) == 1:
        scale = 1.0 / reads.temperature
        return {
            "score.weight": torch.from_numpy(np.asarray(scale * reads.weight, dtype=np.float32)),
            "score.bias": torch.from_numpy(np.asarray(scale * reads.bias, dtype=np.float32)),
        }
    generator = torch.Generator().manual_seed(seed)
    shape = (config.num_labels, config.features)
    return {
        "score.weight": 0.02 * torch.randn(shape, generator=generator),
        "score.bias": torch.zeros(shape[0]),
    }


def _of_layers(model: Any, kept: Sequence[int]) -> tuple[Any, dict[str, Tensor]]:
    """The configuration and the weights of a model with some of its layers."""
    blocks = layers_of(model, name=type(model).__name__)
    place = next(place for place, module in model.named_modules() if module is blocks)
    config = changed_config(model.config, {})
    inner = config.get_text_config()
    inner.num_hidden_layers = len(kept)
    for name in PER_LAYER:
        values = getattr(inner, name, None)
        if values is not None:
            setattr(inner, name, [values[index] for index in kept])
    numbers = {str(old): str(new) for new, old in enumerate(kept)}
    weights: dict[str, Tensor] = {}
    for name, weight in model.state_dict().items():
        if name.startswith(f"{place}."):
            number, _, rest = name[len(place) + 1 :].partition(".")
            if number not in numbers:
                continue
            name = f"{place}.{numbers[number]}.{rest}"
        weights[name] = weight.detach().float().cpu()
    return config, weights


def _order_classes(student: Any, id2label: Mapping[int, str], labels: Sequence[str]) -> None:
    """Put the outputs of a classifier into the order of the labels."""
    names = [same_name(id2label[index]) for index in sorted(id2label)]
    wanted = [same_name(label) for label in labels]
    if are_generic(id2label) or names == wanted or sorted(names) != sorted(wanted):
        return
    order = torch.tensor([names.index(name) for name in wanted])
    with torch.no_grad():
        for weight in head_weights(student).values():
            if len(weight) == len(labels):
                weight.copy_(weight[order].clone())


def without_adapters(model: Any) -> Any:
    """The transformers model itself, with the adapter in force in its weights."""
    plain = below_adapters(model)
    return plain if plain is model else copy.deepcopy(model).merge_and_unload()


def name_of(language_model: Any) -> str:
    """What a teacher's model is called in messages."""
    return str(getattr(language_model, "name", None) or type(language_model.model).__name__)


def _own_tokenizer(tokenizer: Any, model: Any, *, max_length: int) -> Any:
    """The teacher's tokenizer as a student has it: it pads on the right, and where the states of
    texts are pooled, the token that begins a text stands before each, as the teacher reads them.
    """
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.model_max_length = readable_tokens(model, max_length)
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    begin = tokenizer.bos_token
    if begin is None or is_classifier(model):
        return tokenizer
    if tokenizer("a")["input_ids"][:1] != [tokenizer.bos_token_id]:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A",
            pair=f"{begin} $A {begin} $B",
            special_tokens=[(begin, tokenizer.bos_token_id)],
        )
    return tokenizer


def _kept_layers(
    model: Any,
    blocks: Sequence[nn.Module],
    tokenizer: Any,
    texts: Sequence[str],
    *,
    layers: int,
    choice: LayerChoice,
) -> list[int]:
    """Numbers of the layers that stay, ascending."""
    match choice:
        case "first":
            return list(range(layers))
        case "even":
            return keep_layers(len(blocks), layers)
        case "influence":
            influence = _influence(model, blocks, tokenizer, texts)
            return keep_layers(len(blocks), layers, influence=influence)


@torch.inference_mode()
def _influence(
    model: Any, blocks: Sequence[nn.Module], tokenizer: Any, texts: Sequence[str]
) -> Tensor:
    """One minus the mean cosine between what goes into each layer and what comes out, [L]."""
    if not texts:
        raise ModelError(
            "no text was given, but choice: influence ranks layers by what they do on some: pass "
            "texts, or choose first or even"
        )
    sums, tokens = torch.zeros(len(blocks), dtype=torch.float64), 0

    def watch(place: int) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], made: Any) -> None:
            read = args[0] if args else kwargs["hidden_states"]
            wrote = made if isinstance(made, Tensor) else made[0]
            cosine = torch.cosine_similarity(read.float(), wrote.float(), dim=-1)
            sums[place] += float((1 - cosine).sum())

        return hook

    handles = [
        block.register_forward_hook(watch(place), with_kwargs=True)
        for place, block in enumerate(blocks)
    ]
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    try:
        for ids in _calibration(tokenizer, texts):
            model.base_model(input_ids=torch.tensor([ids], device=device))
            tokens += len(ids)
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return sums / max(1, tokens)


def _calibration(tokenizer: Any, texts: Sequence[str]) -> Iterator[list[int]]:
    """Token ids of texts from all over, some thousand tokens in all."""
    left = CALIBRATION_TOKENS
    for text in texts[:: max(1, len(texts) // CALIBRATION_TOKENS)]:
        ids = tokenizer(text, truncation=True, split_special_tokens=True)["input_ids"]
        if ids:
            yield ids
        left -= len(ids)
        if left <= 0:
            return
