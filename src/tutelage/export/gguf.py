"""Language students for llama.cpp: one GGUF file with weights, tokenizer and chat template.

In: the folder of a Llama-class student. Out: `model.gguf`, which is read again and compared with
the student before it counts.

Rows of a quantised matrix are stored in blocks of 32 values; matrices whose rows do not divide keep
16 bits. Blocks of 256 (the K quantisations) cannot be written by the `gguf` package; llama.cpp's
own `llama-quantize` makes them from the 16-bit file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tutelage.errors import ExportFailed, ModelError
from tutelage.export.card import CARD
from tutelage.export.gguf_card import gguf_card, normalization
from tutelage.export.subject import Subject
from tutelage.runs import atomic_write_json, atomic_write_text

GGUF_FILE = "model.gguf"
PARITY = "parity.json"
Weights = Literal["f16", "q8_0", "q4_0"]
ARCHITECTURES = {"LlamaForCausalLM": "LLAMA", "Qwen2ForCausalLM": "QWEN2"}
"""What transformers calls a model, and llama.cpp."""
_ROTATED = ("self_attn.q_proj.weight", "self_attn.k_proj.weight")

_DIGITS = {"type": "Digits", "individual_digits": True}
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def write_f16(subject: Subject, out: Path) -> Mapping[str, Any]:
    """Fill a folder with `model.gguf` in 16 bits, see `export`."""
    return _write(subject, out, weights="f16")


def write_q8_0(subject: Subject, out: Path) -> Mapping[str, Any]:
    """Fill a folder with `model.gguf` in 8 bits, see `export`."""
    return _write(subject, out, weights="q8_0")


def write_q4_0(subject: Subject, out: Path) -> Mapping[str, Any]:
    """Fill a folder with `model.gguf` in 4 bits, see `export`."""
    return _write(subject, out, weights="q4_0")


def _write(subject: Subject, out: Path, *, weights: Weights) -> Mapping[str, Any]:
    from tutelage.export.gguf_parity import compare

    path = out / GGUF_FILE
    facts = write_gguf(subject.folder, path, weights=weights)
    tested = subject.origin.tested
    texts = None if tested is None else tested.texts
    found = compare(subject.folder, path, texts, weights=weights)
    facts = {**facts, **found.record, **normalization(subject.folder)}
    atomic_write_json(out / PARITY, facts)
    if found.problems:
        raise ExportFailed(
            f"{path.name} in {weights} of {subject.name} does not continue texts as the student: "
            f"{'; '.join(found.problems)}."
        )
    atomic_write_text(out / CARD, gguf_card(subject, facts))
    return facts


def write_gguf(student: Path, path: Path, *, weights: Weights) -> Mapping[str, Any]:
    """Write a student as a GGUF file.

    Args:
        student: Its folder, in the `save_pretrained` layout.
        path: The file to write; its folder exists.
        weights: How matrices are stored. Vectors stay float32.

    Returns:
        Facts: `architecture`, `weights`, `bytes`, `tensors`, and `kept_f16`, how many matrices do
        not divide into blocks.

    Raises:
        ModelError: llama.cpp has no such architecture or tokenizer, or the file was not written by
            a version of transformers that this one reads.
    """
    from gguf import GGUFWriter, LlamaFileType
    from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES

    from tutelage.models.pretrained import from_pretrained

    config = _config(student)
    architecture = MODEL_ARCH[ARCHITECTURES[config["architectures"][0]]]
    splitting = splitting_of(student)  # before any large work
    model = from_pretrained("causal_lm", str(student), student)
    file = GGUFWriter(path, MODEL_ARCH_NAMES[architecture])
    try:
        file.add_name(student.name)
        file.add_file_type(LlamaFileType[_FILE_TYPES[weights]])
        file.add_quantization_version(2)
        _write_shape(file, model.config)
        _write_tokenizer(file, student, splitting, vocabulary=model.config.vocab_size)
        kept, tensors = _write_tensors(file, model, architecture, weights=weights)
        file.write_header_to_file()
        file.write_kv_data_to_file()
        file.write_tensors_to_file()
    finally:
        file.close()
    return {
        "architecture": MODEL_ARCH_NAMES[architecture],
        "weights": weights,
        "bytes": path.stat().st_size,
        "tensors": tensors,
        "kept_f16": kept,
    }


_FILE_TYPES = {"f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}


def _config(student: Path) -> dict[str, Any]:
    """The configuration of a student that can be written."""
    config = json.loads((student / "config.json").read_text("utf-8"))
    names = config.get("architectures") or [config.get("model_type")]
    if names[0] not in ARCHITECTURES:
        raise ModelError(
            f"{student} is a {names[0]}; GGUF files are written of {', '.join(ARCHITECTURES)}: use "
            "a transformer or a pruned student of such a teacher, or another format"
        )
    rope = config.get("rope_parameters") or {}
    if rope.get("rope_type", "default") not in ("default", "linear"):
        raise ModelError(
            f"{student} scales its positions by {rope['rope_type']!r}; GGUF files are written of "
            "models with 'default' or 'linear' positions"
        )
    if config.get("mlp_bias") or (config.get("attention_bias") and names[0] == "LlamaForCausalLM"):
        raise ModelError(f"{student} has biases that llama.cpp's Llama has not")
    return config


def _write_shape(file: Any, config: Any) -> None:
    """What llama.cpp must know of a model besides its weights."""
    rope: Mapping[str, Any] = config.rope_parameters
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    file.add_block_count(config.num_hidden_layers)
    file.add_context_length(config.max_position_embeddings)
    file.add_embedding_length(config.hidden_size)
    file.add_feed_forward_length(config.intermediate_size)
    file.add_head_count(heads)
    file.add_head_count_kv(config.num_key_value_heads)
    file.add_key_length(width)
    file.add_value_length(width)
    file.add_layer_norm_rms_eps(config.rms_norm_eps)
    file.add_rope_dimension_count(width)
    file.add_rope_freq_base(rope["rope_theta"])
    if rope.get("rope_type") == "linear":
        from gguf import RopeScalingType

        file.add_rope_scaling_type(RopeScalingType.LINEAR)
        file.add_rope_scaling_factor(rope["factor"])
    file.add_vocab_size(config.vocab_size)


def splitting_of(student: Path) -> str:
    """How llama.cpp is to split texts before merging, by the name that it has for it.

    Raises:
        ModelError: It knows no way that splits as this student's tokenizer does.
    """
    settings = json.loads((student / "tokenizer.json").read_text("utf-8"))
    if settings["model"]["type"] != "BPE" or settings["model"].get("byte_fallback"):
        raise ModelError(
            f"{student}: the tokenizer is {settings['model']['type']}; GGUF files are written with "
            "byte-level BPE alone"
        )
    if settings.get("normalizer") not in (None, {"type": "NFC"}):
        raise ModelError(f"{student}: the tokenizer changes texts before it splits them")
    steps = settings.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    byte_level = [step for step in steps if step.get("type") == "ByteLevel"]
    others = [step for step in steps if step.get("type") != "ByteLevel"]
    own_words = bool(byte_level) and byte_level[-1].get("use_regex", True)
    if not byte_level or byte_level[-1].get("add_prefix_space"):
        found = None
    elif own_words and others in ([], [_DIGITS]):
        found = "smollm" if others else "gpt-2"
    elif not own_words and len(others) == 1 and others[0].get("type") == "Split":
        pattern = str((others[0].get("pattern") or {}).get("Regex"))
        found = {_LLAMA3: "llama-bpe", _QWEN2: "qwen2"}.get(pattern)
    else:
        found = None
    if found is None:
        raise ModelError(
            f"{student}: llama.cpp is not known to split texts as this tokenizer does "
            f"({json.dumps(steps)[:200]}); it would read other tokens than the student learned"
        )
    return found


def _write_tokenizer(file: Any, student: Path, splitting: str, *, vocabulary: int) -> None:
    from gguf import SpecialVocab, TokenType

    settings = json.loads((student / "tokenizer.json").read_text("utf-8"))
    words = {number: word for word, number in settings["model"]["vocab"].items()}
    kinds = dict.fromkeys(words, TokenType.NORMAL)
    for token in settings["added_tokens"]:
        words[token["id"]] = token["content"]
        kinds[token["id"]] = TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre(splitting)
    file.add_token_list([words.get(number, f"[PAD{number}]") for number in range(vocabulary)])
    file.add_token_types([kinds.get(number, TokenType.UNUSED) for number in range(vocabulary)])
    special = SpecialVocab(student, load_merges=True, n_vocab=vocabulary)
    special.add_special_token.setdefault("bos", False)
    special.add_special_token.setdefault("eos", False)
    special.add_to_gguf(file, quiet=True)


def _write_tensors(
    file: Any, model: Any, architecture: Any, *, weights: Weights
) -> tuple[int, int]:
    """Add every weight; gives how many matrices keep 16 bits, and the number of all tensors."""
    from gguf import GGMLQuantizationType, get_tensor_name_map, quants

    names = get_tensor_name_map(architecture, model.config.num_hidden_layers)
    wanted = GGMLQuantizationType[weights.upper()]
    state = model.state_dict()
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    kept = 0
    for name, tensor in state.items():
        target = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if target is None:
            raise ModelError(f"llama.cpp has no place for the weights {name!r}")
        values = tensor.detach().float().cpu().numpy()
        if architecture.name == "LLAMA" and name.endswith(_ROTATED):
            keys = name.endswith(_ROTATED[1])
            heads = model.config.num_key_value_heads if keys else model.config.num_attention_heads
            values = rotated(values, heads)
        kind = wanted if values.ndim > 1 else GGMLQuantizationType.F32
        if values.ndim > 1 and wanted != GGMLQuantizationType.F16 and values.shape[-1] % 32:
            kind, kept = GGMLQuantizationType.F16, kept + 1
        file.add_tensor(target, quants.quantize(values, kind), raw_dtype=kind)
    return kept, len(state)


def rotated(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of queries or keys in llama.cpp's order for Llama: the two halves of a head, which
    transformers turns against each other, become neighbours.

    Args:
        weight: [heads * D, width].
        heads: Of queries, or of keys.
    """
    rows, width = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, width)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows, width)
