"""OpenAI's decision API, `POST /v1/decisions`, read and worded.

In: `{model, input, questions: [...]}` with questions of type `choice`, `predicate` and `score`.
Out: `{model, answers: [...], usage}` in the order of the questions. `confidence` is the probability
of the chosen option. Tokens are counted as none, since none are paid for.

A student reads one text: `input` is a string, or user messages of text and JSON, which are joined.
Images, other roles and tool calls are refused, since no student has learned to read them.
Source: the types of the `openai` package, 3.57 (`openai.types.decision_create_params`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tutelage_runtime.serving.answering import (
    Answered,
    Asked,
    AskedQuestion,
    Option,
    Refusal,
    Reply,
)
from tutelage_runtime.serving.limits import Limits, as_text, require_number, require_text
from tutelage_runtime.serving.protocols.shapes import (
    Place,
    array,
    best,
    mapping,
    maybe_string,
    path_of,
    require_different,
    required,
    string,
    wrong,
)

_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
    "output_tokens": 0,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 0,
}


def read(body: Mapping[str, Any], limits: Limits) -> Asked:
    """What a body asks.

    Raises:
        Refusal: 422 for another shape, and beyond a limit.
    """
    model = string(required(body, "model"), ("model",))
    text = require_text(_input(required(body, "input")), limits, ("input",))
    asked = array(required(body, "questions"), ("questions",))
    if not asked:
        raise wrong(("questions",), "is empty; ask at least one", "too_short")
    require_number(len(asked), limits.questions, "questions", ("questions",))
    return Asked((text,), tuple(_question(one, n, limits) for n, one in enumerate(asked)), model)


def _input(value: Any) -> str:
    if isinstance(value, str):
        return value
    messages = array(value, ("input",))
    if not messages:
        raise wrong(("input",), "is empty", "too_short")
    return "\n\n".join(_message(one, ("input", n)) for n, one in enumerate(messages))


def _message(value: Any, place: Place) -> str:
    message = mapping(value, place)
    if message.get("type", "message") != "message" or message.get("role") != "user":
        raise wrong(
            place,
            "is no user message; students read one text: send a string, or user messages",
            "unsupported_input",
        )
    return parts_text(required(message, "content", place), (*place, "content"))


def parts_text(value: Any, place: Place) -> str:
    """A string, or parts of text and JSON, each on lines of its own."""
    if isinstance(value, str):
        return value
    texts = []
    for number, one in enumerate(array(value, place)):
        part = mapping(one, (*place, number))
        match part.get("type"):
            case "input_text":
                texts.append(string(part.get("text"), (*place, number, "text")))
            case "input_json":
                data = part.get("data")
                if not isinstance(data, (dict, list)):
                    raise wrong((*place, number, "data"), "is no object and no array of objects")
                texts.append(as_text(data))
            case _:
                raise wrong(
                    (*place, number),
                    "is neither `input_text` nor `input_json`; students read text",
                    "unsupported_input",
                )
    return "\n".join(texts)


def _question(value: Any, number: int, limits: Limits) -> AskedQuestion:
    place: Place = ("questions", number)
    question = mapping(value, place)
    kind = required(question, "type", place)
    options: list[Option] = []
    match kind:
        case "choice":
            where = (*place, "choices")
            for n, one in enumerate(array(required(question, "choices", place), where)):
                choice = mapping(one, (*where, n))
                option = required(choice, "value", (*where, n))
                if not isinstance(option, (str, bool)):
                    raise wrong((*where, n, "value"), "is neither a string nor a boolean")
                maybe_string(choice.get("description"), (*where, n, "description"))
                options.append(option)
            require_different(options, where, least=2, most=limits.options)
        case "score":
            where = (*place, "levels")
            for n, one in enumerate(array(required(question, "levels", place), where)):
                level = mapping(one, (*where, n))
                maybe_string(level.get("description"), (*where, n, "description"))
                label = required(level, "label", (*where, n))
                options.append(string(label, (*where, n, "label")))
            require_different(options, where, least=2, most=limits.options)
        case "predicate":
            pass
        case _:
            raise wrong((*place, "type"), "is none of choice, predicate, score")
    where = (*place, "instructions")
    return AskedQuestion(
        kind=kind,
        options=tuple(options),
        instructions=parts_text(required(question, "instructions", place), where),
        name=maybe_string(question.get("name"), (*place, "name")),
        place=place,
    )


def word(asked: Asked, reply: Reply) -> dict[str, Any]:
    """The body of a reply."""
    return {
        "model": reply.model,
        "answers": [
            _answer(question, answer)
            for question, answer in zip(asked.questions, reply.answers, strict=True)
        ],
        "usage": _USAGE,
    }


def _answer(question: AskedQuestion, answer: Answered) -> dict[str, Any]:
    (probs,) = answer.probs
    if question.kind == "predicate":
        return {"type": "predicate", "name": question.name, "probability": probs[0]}
    place = best(probs)
    if question.kind == "score":
        return {
            "type": "score",
            "name": question.name,
            "score": sum(value * prob for value, prob in enumerate(probs)),
            "confidence": probs[place],
            "probabilities": [
                {"value": value, "label": label, "probability": prob}
                for value, (label, prob) in enumerate(zip(answer.options, probs, strict=True))
            ],
        }
    return {
        "type": "choice",
        "name": question.name,
        "choice": answer.options[place],
        "confidence": probs[place],
        "probabilities": [
            {"value": option, "probability": prob}
            for option, prob in zip(answer.options, probs, strict=True)
        ],
    }


def error(refusal: Refusal) -> tuple[int, dict[str, Any]]:
    """An error as OpenAI words it: what is wrong with a request's shape is a 400 there."""
    status = 400 if refusal.status == 422 else refusal.status
    kinds = {401: "authentication_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return status, {
        "error": {
            "message": refusal.message,
            "type": kind,
            "param": path_of(refusal.place) or None,
            "code": refusal.code,
        }
    }
