"""Replies of OpenAI's Responses API, `POST /v1/responses`, as a chat completion would say the same.

In: the JSON of a response. Out: the JSON of a chat completion with one choice, which the reader of
chats understands. Nothing is asked by this protocol; logs of such calls are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tutelage.teachers.api.protocol import BadAnswer
from tutelage.teachers.api.protocols.replies import mapping, said, sequence, string, wrong

_FINISHED = {None: "stop", "completed": "stop"}
_CUT = {"max_output_tokens": "length", "content_filter": "content_filter"}
"""Why a response is incomplete, in the words of chats."""


def as_chat(body: Mapping[str, Any]) -> dict[str, Any]:
    """A response as a chat completion: the texts of its messages behind each other, with their
    log-probabilities where every text has some. What a model says while it is still at work
    (`phase: commentary`), its reasoning and its calls of tools are no answer.

    Args:
        body: The response; `output` holds its items.

    Raises:
        BadAnswer: It failed, or has another shape.

    Source: openai 3.57, `types.responses.Response` and `ResponseOutputText`.
    """
    status = body.get("status")
    if status not in (*_FINISHED, "incomplete"):
        raise BadAnswer("rejected", f"the response is {said(status)}")
    finish = _FINISHED.get(status, "length")
    if status == "incomplete":
        details = mapping(body.get("incomplete_details") or {}, "`incomplete_details`")
        finish = _CUT.get(str(details.get("reason")), "length")
    parts = list(_parts(sequence(body.get("output"), "`output`")))
    refusals = [part.get("refusal") for part in parts if part.get("type") == "refusal"]
    texts = [part for part in parts if part.get("type") == "output_text"]
    message = {
        "content": "".join(string(part.get("text"), "`text`") for part in texts),
        "refusal": str(refusals[0] or "refusal") if refusals else None,
    }
    choice: dict[str, Any] = {"message": message, "finish_reason": finish}
    if texts and all(part.get("logprobs") for part in texts):
        places = [one for part in texts for one in sequence(part["logprobs"], "`logprobs`")]
        choice["logprobs"] = {"content": places}
    return {"choices": [choice]}


def _parts(items: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """What the messages among the items of a response consist of."""
    for item in items:
        item = mapping(item, "an item of `output`")
        if item.get("type") != "message" or item.get("phase") == "commentary":
            continue
        for part in sequence(item.get("content"), "`content` of a message"):
            part = mapping(part, "a part of `content`")
            if part.get("type") not in ("output_text", "refusal"):
                raise wrong("`type` of a part", part.get("type"), "output_text or refusal")
            yield part
