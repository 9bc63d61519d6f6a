"""vLLM's `POST /classify`, read and worded.

In: `{model, input: text | [text, ...]}`. Out: `{id, object, created, model, data: [{index, label,
probs, num_classes}], usage}`, one entry a text, probabilities in the order of the student's labels.
`model` names the student where there are several: `NAME`, or `tutelage/NAME@VERSION`.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from typing import Any

from tutelage_runtime.serving.answering import Asked, AskedQuestion, Refusal, Reply
from tutelage_runtime.serving.limits import Limits, require_number, require_text
from tutelage_runtime.serving.protocols.shapes import (
    best,
    maybe_string,
    path_of,
    required,
    string,
    wrong,
)

_RANDOM = random.Random()
_QUESTIONS = (AskedQuestion("classes", place=("model",)),)
_USAGE = {"prompt_tokens": 0, "total_tokens": 0, "completion_tokens": 0}
_KINDS = {401: "AuthenticationError", 404: "NotFoundError", 413: "BadRequestError"}


def read(body: Mapping[str, Any], limits: Limits) -> Asked:
    """What a body asks.

    Raises:
        Refusal: 422 for another shape, and beyond a limit.
    """
    model = maybe_string(body.get("model"), ("model",))
    given = required(body, "input")
    if isinstance(given, str):
        return Asked((require_text(given, limits, ("input",)),), _QUESTIONS, model)
    if not isinstance(given, list):
        raise wrong(("input",), "is neither a string nor an array of strings")
    if not given:
        raise wrong(("input",), "is empty; send at least one text", "too_short")
    require_number(len(given), limits.texts, "texts", ("input",))
    texts = [string(one, ("input", n)) for n, one in enumerate(given)]
    return Asked(
        tuple(require_text(one, limits, ("input", n)) for n, one in enumerate(texts)),
        _QUESTIONS,
        model,
    )


def word(_asked: Asked, reply: Reply) -> dict[str, Any]:
    """The body of a reply."""
    (answer,) = reply.answers
    data = [
        {
            "index": index,
            "label": answer.options[best(probs)],
            "probs": probs,
            "num_classes": len(probs),
        }
        for index, probs in enumerate(answer.probs)
    ]
    return {
        "id": f"classify-{_RANDOM.getrandbits(128):032x}",
        "object": "list",
        "created": int(time.time()),
        "model": reply.model,
        "data": data,
        "usage": _USAGE,
    }


def error(refusal: Refusal) -> tuple[int, dict[str, Any]]:
    """An error as vLLM words it: what is wrong with a request's shape is a 400 there."""
    status = 400 if refusal.status == 422 else refusal.status
    kind = _KINDS.get(status, "BadRequestError" if status < 500 else "InternalServerError")
    place = path_of(refusal.place) or None
    return status, {
        "error": {"message": refusal.message, "type": kind, "param": place, "code": status}
    }
