"""The student's own vocabulary, learnt from the texts it will read.

In: texts. Out: a fast tokenizer that `AutoTokenizer` loads, with `[PAD]` as id 0, truncating at
`max_length`. The same texts give the same ids on every run and machine, whatever their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VocabularyKind = Literal["wordpiece", "bpe", "word"]
PAD, UNKNOWN, MASK, CLS, SEP = "[PAD]", "[UNK]", "[MASK]", "[CLS]", "[SEP]"
CONTINUATION = "##"
LARGEST_ALPHABET = 1000
WORDS = Regex(r"[\p{L}\p{N}\p{M}]+(?:'\p{L}+)?|[^\s\p{L}\p{N}\p{M}]")
"""A word with the ending behind its apostrophe ("don't" is one word: the negation stays with its
verb), or one sign."""


def train_tokenizer(
    texts: Iterable[str],
    *,
    kind: VocabularyKind = "wordpiece",
    vocabulary_size: int = 8000,
    lowercase: bool = True,
    max_length: int = 128,
    boundaries: bool = False,
) -> PreTrainedTokenizerFast:
    """A tokenizer whose vocabulary is learnt from `texts`.

    Args:
        texts: What the student will read; order does not matter.
        kind: `wordpiece` (words and their pieces), `bpe` (byte-level pieces; nothing is ever
            unknown) or `word` (whole words, the most frequent ones; all others are unknown).
        vocabulary_size: Most tokens there may be, special ones included; small corpora give fewer.
            The words are the same with `boundaries` and without.
        lowercase: Fold case first.
        max_length: Where texts are truncated, in tokens.
        boundaries: Put `[CLS]` and `[SEP]` around every text, for classes that need them.

    Returns:
        `[PAD]` is id 0, `[UNK]` 1, `[MASK]` 2; `[CLS]` and `[SEP]` exist where `boundaries` asks
        for them.

    Raises:
        ValueError: No text has a letter in it, `vocabulary_size` leaves no room for words, or
            `kind` is not known.

    Example:
        >>> train_tokenizer(["good film"] * 2, kind="word").tokenize("Good film")
        ['good', 'film']

    Source: Schuster and Nakajima 2012 and Wu et al. 2016 (arXiv:1609.08144), section 4.1, for word
        pieces; Sennrich et al. 2016 (arXiv:1508.07909) for byte-pair encoding. Pieces are chosen by
        frequency, as in the `tokenizers` library, not by likelihood.
    """
    specials = [PAD, UNKNOWN, MASK, *([CLS, SEP] if boundaries else [])]
    steps = [
        normalizers.NFC(),
        normalizers.Replace("’", "'"),
        *([normalizers.Lowercase()] if lowercase else []),
    ]
    normalizer = normalizers.Sequence(steps)
    texts = sorted(normalizer.normalize_str(text) for text in texts)
    least = smallest_vocabulary(kind, boundaries=boundaries)
    if vocabulary_size < least:
        raise ValueError(
            f"vocabulary_size is {vocabulary_size}: special tokens and single letters need {least}"
        )
    if (
        not boundaries
    ):  # room for them all the same: two students of one vocabulary then share what is made for it
        vocabulary_size = max(least, vocabulary_size - len([CLS, SEP]))
    if not any(text.strip() for text in texts):
        raise ValueError("no text to learn a vocabulary from: give at least one that is not empty")
    if kind == "bpe":
        tokenizer = _bpe(texts, vocabulary_size, specials)
    else:
        splitter = pre_tokenizers.Split(WORDS, behavior="removed", invert=True)
        counts = Counter(word for text in texts for word, _ in splitter.pre_tokenize_str(text))
        if kind == "wordpiece":
            tokenizer = Tokenizer(_wordpiece(counts, vocabulary_size, specials))
        elif kind == "word":
            tokenizer = Tokenizer(_word_level(counts, vocabulary_size, specials))
        else:
            raise ValueError(
                f"kind is {kind!r}: expected one of {', '.join(get_args(VocabularyKind))}"
            )
        tokenizer.pre_tokenizer = splitter
    tokenizer.normalizer = normalizer
    if boundaries:
        add_boundaries(tokenizer)
    return wrap(tokenizer, max_length=max_length, boundaries=boundaries, unknown=True)


def smallest_vocabulary(kind: VocabularyKind, *, boundaries: bool) -> int:
    """How many tokens a vocabulary needs for its special ones and the single letters that it cannot
    do without.

    Args:
        kind: As for `train_tokenizer`.
        boundaries: As for `train_tokenizer`.

    Example:
        >>> smallest_vocabulary("bpe", boundaries=True)  # all 256 bytes
        261
    """
    letters = {"bpe": len(pre_tokenizers.ByteLevel.alphabet()), "wordpiece": 3, "word": 1}
    return len([PAD, UNKNOWN, MASK, *([CLS, SEP] if boundaries else [])]) + letters.get(kind, 0)


def add_boundaries(tokenizer: Tokenizer) -> None:
    """Have every text stand between `[CLS]` and `[SEP]`, which must be in the vocabulary.

    Args:
        tokenizer: Changed in place.
    """
    ids = [(name, tokenizer.token_to_id(name)) for name in (CLS, SEP)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", pair=f"{CLS} $A {SEP} $B {SEP}", special_tokens=ids
    )


def wrap(
    tokenizer: Tokenizer, *, max_length: int, boundaries: bool, unknown: bool
) -> PreTrainedTokenizerFast:
    """The transformers form of a tokenizer, with its special tokens named.

    Args:
        tokenizer: Has the special tokens in its vocabulary.
        max_length: Where texts are truncated, in tokens.
        boundaries: It has `[CLS]` and `[SEP]`.
        unknown: It has `[UNK]`.

    Returns:
        A tokenizer that pads on the right and gives `input_ids` and `attention_mask`.
    """
    names: dict[str, Any] = {"pad_token": PAD, "mask_token": MASK}
    if unknown:
        names["unk_token"] = UNKNOWN
    if boundaries:
        names |= {"cls_token": CLS, "sep_token": SEP}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=max_length,
        padding_side="right",
        truncation_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **names,
    )


def _word_level(
    counts: Counter[str], vocabulary_size: int, specials: Sequence[str]
) -> models.WordLevel:
    """The most frequent words; equal counts in alphabetical order."""
    words = sorted(counts, key=lambda word: (-counts[word], word))[
        : vocabulary_size - len(specials)
    ]
    return models.WordLevel(
        {token: index for index, token in enumerate([*specials, *words])}, unk_token=UNKNOWN
    )


def _wordpiece(
    counts: Counter[str], vocabulary_size: int, specials: Sequence[str]
) -> models.WordPiece:
    """Pieces by frequency.

    The library numbers continuing letters in the order of a hash table, which differs between runs
    and then decides ties. Declared beforehand, in alphabetical order, they have the same ids
    always.
    """
    letters: Counter[str] = Counter()
    continuing: set[str] = set()
    for word, count in counts.items():
        for letter in word:
            letters[letter] += count
        continuing.update(word[1:])
    limit = min(LARGEST_ALPHABET, (vocabulary_size - len(specials)) // 3)
    alphabet = sorted(sorted(letters, key=lambda letter: (-letters[letter], letter))[:limit])
    declared = [*specials, *(CONTINUATION + letter for letter in alphabet if letter in continuing)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        special_tokens=declared,
        initial_alphabet=alphabet,
        limit_alphabet=len(alphabet),
        continuing_subword_prefix=CONTINUATION,
        show_progress=False,
    )
    learner = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    known = set(alphabet)
    words = sorted(word for word in counts if known.issuperset(word))
    learner.train_from_iterator((" ".join([word] * counts[word]) for word in words), trainer)
    return models.WordPiece(
        learner.get_vocab(), unk_token=UNKNOWN, continuing_subword_prefix=CONTINUATION
    )


def _bpe(texts: Sequence[str], vocabulary_size: int, specials: Sequence[str]) -> Tokenizer:
    """Byte-level pieces; the 256 bytes are always there."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        special_tokens=list(specials),
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
