"""A language model in memory that writes answers to prompts.

In: prompts. Out: texts. Several are written at once, padded on the left; every answer draws with a
random state of its own, named by its prompt and number. So it does not depend on who is written
beside it but for the last bits of a logit, and work that was stopped goes on to the same answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from tutelage.data.documents.chat import has_chat_template
from tutelage.data.documents.control_tokens import ControlTokens
from tutelage.data.documents.prompts import prompt_ids, prompt_text
from tutelage.errors import ModelError
from tutelage.models.computing import length_batches
from tutelage.models.facts import context_tokens
from tutelage.models.loading import LanguageModel
from tutelage.models.refusals import first_line
from tutelage.runs import fingerprint, seed_sequence
from tutelage.targets.kinds import TextOptions
from tutelage.teachers.api.journal import Journal, open_journal, request_name
from tutelage.teachers.api.protocol import BadAnswer, Request, Usage
from tutelage.teachers.writing import Ask
from tutelage.types import SILENT, Progress

_TOLERANCE = 1e-2
"""Of log-probabilities after padding on the left, beside those without; more in bfloat16."""


class LocalWriter:
    """Writes with a loaded model; see `teachers.writing.WritesText`.

    Args:
        language_model: Loaded with its causal head.
        options: How many tokens, and how they are drawn.
        seed: Of all draws.
        journals: A folder, in which this teacher's answers have one of their own.
        batch_tokens: Tokens written at once, prompts and padding included.
        control_as_text: Whether control tokens that a prompt spells are text.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        options: TextOptions,
        *,
        seed: int,
        journals: Path,
        batch_tokens: int = 4096,
        control_as_text: bool = True,
    ) -> None:
        self._model, self._tokenizer = language_model.model, language_model.tokenizer
        self._options, self._seed = options, seed
        self._batch_tokens = batch_tokens
        self._control = ControlTokens(self._tokenizer) if control_as_text else None
        known = fingerprint("writes", language_model.fingerprint, str(language_model.dtype))
        self._settings: dict[str, Any] = {
            "system": options.system,
            "sampling_temperature": options.sampling_temperature,
            "top_p": options.top_p,
            "max_new_tokens": options.max_new_tokens,
            "control_as_text": control_as_text,
            "seed": seed,
        }
        self.fingerprint = fingerprint(known, self._settings)
        self._journal = journals / f"written-{known}"
        self._name = language_model.name
        self._account: dict[str, Any] = {}

    @property
    def account(self) -> Mapping[str, Any]:
        """Tokens written in all, earlier calls included."""
        return self._account

    def write(
        self, asks: Sequence[Ask], *, progress: Progress = SILENT
    ) -> Iterator[list[tuple[int, str | BadAnswer]]]:
        """Answers as they come; first those that were written before.

        Raises:
            DataError: The chat template refuses a prompt.
            ModelError: The model cannot write.
        """
        with open_journal(self._journal) as journal:
            names = [self._request(ask) for ask in asks]
            known = [place for place, name in enumerate(names) if name in journal]
            waiting = [place for place, name in enumerate(names) if name not in journal]
            if known:
                progress.say(f"{len(known):,} answers were written before, in {self._journal}")
                yield [(place, _read(journal.reply(names[place]) or {})) for place in known]
            try:
                yield from self._written(waiting, asks, names, journal)
            finally:
                tokens = sum(usage.output * times for usage, times in journal.usages.items())
                self._account = {"output_tokens": tokens, "answers": len(asks)}

    def _request(self, ask: Ask) -> bytes:
        body = {**self._settings, "prompt": ask.prompt, "sample": ask.sample}
        if ask.messages:
            body["messages"] = list(ask.messages)
        return request_name(Request("generate", body), attempt=0)

    def _written(
        self, waiting: Sequence[int], asks: Sequence[Ask], names: Sequence[bytes], journal: Journal
    ) -> Iterator[list[tuple[int, str | BadAnswer]]]:
        most, is_rendered = self._options.max_new_tokens, has_chat_template(self._tokenizer)
        prompts = []
        for place in waiting:
            text = prompt_text(
                self._tokenizer,
                asks[place].prompt,
                system=self._options.system,
                control=self._control,
                messages=asks[place].messages,
            )
            prompts.append(prompt_ids(self._tokenizer, text, is_rendered=is_rendered))
        context = context_tokens(self._model.config)
        lengths = [len(ids) + most for ids in prompts]
        pads = len({len(ids) for ids in prompts}) < 2 or self._pads_on_the_left(prompts)
        for batch in length_batches(lengths, batch_tokens=self._batch_tokens):
            for rows in [batch] if pads else _of_equal_length(batch, prompts):
                longest = max(len(prompts[row]) for row in rows)
                room = most if context is None else min(most, context - longest)
                came: list[tuple[int, str | BadAnswer]] = []
                written = (
                    [([], True) for _ in rows]
                    if room < 1
                    else self._generated(
                        [prompts[row] for row in rows], [asks[waiting[row]] for row in rows], room
                    )
                )
                for row, (ids, is_cut) in zip(rows, written, strict=True):
                    reply = {
                        "text": self._tokenizer.decode(ids, skip_special_tokens=True),
                        "finish": "length" if is_cut else "stop",
                    }
                    usage = Usage(input=len(prompts[row]), output=len(ids))
                    journal.add(names[waiting[row]], reply, model=self._name, usage=usage)
                    came.append((waiting[row], _read(reply)))
                yield came

    @torch.inference_mode()
    def _generated(
        self, prompts: Sequence[Sequence[int]], asks: Sequence[Ask], room: int
    ) -> list[tuple[list[int], bool]]:
        """The tokens of each answer, and whether it was cut off."""
        ids_BT, mask_BT = _padded(prompts, self._padding, device=self._model.device)
        states = [
            np.random.default_rng(seed_sequence(self._seed, "write", ask.prompt, ask.sample))
            for ask in asks
        ]
        options = self._options
        draw = Draw(
            states,
            sampling_temperature=options.sampling_temperature,
            top_p=options.top_p,
            vocabulary=len(self._tokenizer),
        )
        try:
            found = self._model.generate(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                max_new_tokens=room,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                pad_token_id=self._padding,
                logits_processor=LogitsProcessorList([draw]),
            )
        except (ValueError, TypeError, RuntimeError, LookupError, AttributeError) as error:
            raise ModelError(
                f"{self._name} cannot write ({first_line(error)}): look at its "
                "generation_config.json, or remove it"
            ) from error
        ends = self._ends
        answers = []
        for tokens in found[:, ids_BT.shape[1] :].tolist():
            stop = next((at for at, token in enumerate(tokens) if token in ends), None)
            answers.append((tokens[:stop], stop is None))
        return answers

    @property
    def _padding(self) -> int:
        """Fills rows, where nobody looks."""
        return int(self._tokenizer.pad_token_id or 0)

    @property
    def _ends(self) -> set[int]:
        """Tokens that end an answer."""
        told = self._model.generation_config.eos_token_id
        return {told} if isinstance(told, int) else set(told or ())

    @torch.inference_mode()
    def _pads_on_the_left(self, prompts: Sequence[Sequence[int]]) -> bool:
        """Whether the shortest prompt reads the same after padding: some models do not know what
        of a row is padding, and write prompts of one length together.
        """
        shortest, longest = min(prompts, key=len), max(prompts, key=len)
        alone, beside = (
            self._next([shortest]),
            self._next([shortest, longest]),
        )
        broad = self._model.dtype != torch.float32
        return bool((alone - beside).abs().max() < _TOLERANCE * (50 if broad else 1))

    def _next(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Log-probabilities of the token after the first of some prompts, [V], as `generate` reads
        them.
        """
        ids_BT, mask_BT = _padded(prompts, self._padding, device=self._model.device)
        answer = self._model.generate(
            input_ids=ids_BT,
            attention_mask=mask_BT,
            max_new_tokens=1,
            do_sample=False,
            num_beams=1,
            temperature=None,
            top_p=None,
            top_k=None,
            pad_token_id=self._padding,
            return_dict_in_generate=True,
            output_logits=True,
        )
        return torch.log_softmax(answer.logits[0][0].float(), dim=-1)


class Draw(LogitsProcessor):
    """Leaves `generate`, which takes the most likely token, one token for each row: a drawn one.

    Args:
        states: Random states, one a row; each gives one number a token.
        sampling_temperature: Above 0; 0: nothing is drawn, but tokens that are none are taken out.
        top_p: Mass of the likeliest tokens that are drawn from.
        vocabulary: Ids from here on are padding of the output matrix.
    """

    def __init__(
        self,
        states: Sequence[np.random.Generator],
        *,
        sampling_temperature: float,
        top_p: float,
        vocabulary: int,
    ) -> None:
        self._states = states
        self._temperature, self._top_p, self._vocabulary = sampling_temperature, top_p, vocabulary

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores [B, V] of the next token, with all but one of a row at -inf."""
        del input_ids
        scores_BV = scores.float().clone()
        scores_BV[:, self._vocabulary :] = -torch.inf
        if self._temperature == 0:
            return scores_BV
        probs_BV = (scores_BV / self._temperature).softmax(dim=-1)
        probs_BK, ids_BK = likeliest(probs_BV, self._top_p)
        upto_BK = probs_BK.double().cumsum(dim=-1)
        drawn = torch.tensor([[state.random()] for state in self._states], dtype=torch.float64)
        aimed_B1 = drawn.to(upto_BK.device) * upto_BK[:, -1:]
        places_B1 = torch.searchsorted(upto_BK, aimed_B1, right=True)
        chosen_B1 = ids_BK.gather(-1, places_B1.clamp(max=upto_BK.shape[1] - 1))
        return torch.full_like(scores_BV, -torch.inf).scatter(-1, chosen_B1, 0.0)


_LOOKED_AT = 1024
"""Likeliest tokens that mostly have the mass that is asked for; sorting all takes longer than a
small model takes to write one."""


def likeliest(probs: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """The fewest tokens that have a mass of at least `top_p` together.

    Args:
        probs: [B, V], each row summing to 1.
        top_p: In (0, 1].

    Returns:
        Probabilities [B, K], 0 for those that a row does not need, and their ids [B, K].
    """
    if top_p >= 1:
        return probs, torch.arange(probs.shape[1], device=probs.device).expand_as(probs)
    found_BK, ids_BK = probs.topk(min(_LOOKED_AT, probs.shape[1]))
    if bool((found_BK.sum(dim=-1) < top_p).any()):
        found_BK, ids_BK = probs.sort(dim=-1, descending=True)
    before_BK = found_BK.cumsum(dim=-1) - found_BK
    return found_BK.masked_fill(before_BK >= top_p, 0.0), ids_BK


def _read(reply: Mapping[str, Any]) -> str | BadAnswer:
    """The text of an answer, or why it is none."""
    text = str(reply.get("text", ""))
    if reply.get("finish") != "stop":
        return BadAnswer("truncated", f"cut off after {text[-60:]!r}")
    return text if text.strip() else BadAnswer("empty", "the answer has no text")


def _padded(
    prompts: Sequence[Sequence[int]], padding: int, *, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Prompts padded on the left, [B, T], and where they are not padding."""
    width = max(map(len, prompts))
    ids_BT = torch.full((len(prompts), width), padding, dtype=torch.long)
    mask_BT = torch.zeros_like(ids_BT)
    for row, ids in enumerate(prompts):
        ids_BT[row, width - len(ids) :] = torch.tensor(ids, dtype=torch.long)
        mask_BT[row, width - len(ids) :] = 1
    return ids_BT.to(device), mask_BT.to(device)


def _of_equal_length(batch: Sequence[int], prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """A batch as several of prompts of one length."""
    by_length: dict[int, list[int]] = {}
    for row in batch:
        by_length.setdefault(len(prompts[row]), []).append(row)
    yield from by_length.values()
