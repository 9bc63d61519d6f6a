"""Word dropout: some input tokens are hidden during training, so that a student does not lean on
single words.

In: the lengths of a step's rows. Out: which of their tokens to hide. What is drawn depends on seed
and step alone, so that a resume, smaller batches or more processes hide the same words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tutelage.data.examples.collate import EncodedSet
from tutelage.errors import DataError
from tutelage.runs import seed_sequence


@dataclass(frozen=True, slots=True)
class WordDropout:
    """Hides each token with a probability; tokens that mark the start or the end of every row
    stay.
    """

    share: float
    """Probability that a token is hidden, in [0, 1)."""
    unknown_id: int
    """What takes its place."""
    seed: int
    """Of the run."""
    keep_first: bool = False
    """The first token is a mark such as `[CLS]`."""
    keep_last: bool = False
    """The last token is a mark such as `[SEP]`."""

    @classmethod
    def for_rows(
        cls, encoded: EncodedSet, *, share: float, unknown_id: int | None, seed: int
    ) -> WordDropout:
        """Word dropout for rows like these: a token that every row starts (or ends) with is a mark,
        not a word.

        Raises:
            DataError: Words are to be dropped but there is no id for that.
        """
        if share and unknown_id is None:
            raise DataError(
                f"word_dropout={share} given, but the tokenizer has neither a mask nor an unknown "
                "token to put "
                "in the place of words: set word_dropout: 0"
            )
        firsts = {ids[0] for ids in encoded.input_ids if len(ids)}
        lasts = {ids[-1] for ids in encoded.input_ids if len(ids)}
        several = len(encoded) > 1
        return cls(
            share,
            -1 if unknown_id is None else unknown_id,
            seed,
            keep_first=several and len(firsts) == 1,
            keep_last=several and len(lasts) == 1,
        )

    def hidden(self, lengths: NDArray[np.int64], *, step: int) -> NDArray[np.bool_]:
        """Which tokens a step hides.

        Args:
            lengths: Tokens of each row of the step, `[B]`.
            step: Optimizer steps done before.

        Returns:
            `[B, T]` with T the longest row; padding is never hidden.
        """
        generator = np.random.default_rng(seed_sequence(self.seed, "word_dropout", step))
        places = np.arange(max(1, int(lengths.max())))
        words = (places >= int(self.keep_first)) & (
            places < (lengths - int(self.keep_last))[:, None]
        )
        return (generator.random(words.shape) < self.share) & words
