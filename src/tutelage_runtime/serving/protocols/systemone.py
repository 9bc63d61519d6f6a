"""TypeSafe's System One API, `POST /v1/systemone`, read and worded.

In: `{model, state, questions: {id: {type, instructions, criteria}}}` with questions of type
`choice`, `noul` (yes or no) and `score`. Out: `{model, answers: {id: ...}, usage}`. `confidence` is
the probability of the chosen option. States, instructions and criteria that are JSON are read as
compact JSON; questions of type `box` and images are refused.
Source: the types of the `typesafe-sdk` package, 0.7.5.
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
    require_different,
    required,
    string,
    wrong,
)

_USAGE = {"input_tokens": 0, "output_tokens": 0}


def read(body: Mapping[str, Any], limits: Limits) -> Asked:
    """What a body asks.

    Raises:
        Refusal: 422 for another shape, and beyond a limit.
    """
    model = string(required(body, "model"), ("model",))
    text = _content(required(body, "state"), ("state",))
    if body.get("assets"):
        raise wrong(("assets",), "is given; students read text, no images", "unsupported_input")
    asked = mapping(required(body, "questions"), ("questions",))
    if not asked:
        raise wrong(("questions",), "is empty; ask at least one", "too_short")
    require_number(len(asked), limits.questions, "questions", ("questions",))
    return Asked(
        (require_text(text, limits, ("state",)),),
        tuple(_question(name, one, limits) for name, one in asked.items()),
        model,
    )


def _content(value: Any, place: Place) -> str:
    if isinstance(value, str):
        return value
    if not isinstance(value, (dict, list)):
        raise wrong(place, "is no string, object or array")
    return as_text(value)


def _maybe_content(value: Any, place: Place) -> str | None:
    return None if value is None else _content(value, place)


def _question(name: str, value: Any, limits: Limits) -> AskedQuestion:
    place: Place = ("questions", name)
    question = mapping(value, place)
    kind = required(question, "type", place)
    instructions = _maybe_content(question.get("instructions"), (*place, "instructions"))
    where = (*place, "criteria")
    match kind:
        case "choice":
            choices = mapping(required(question, "criteria", place), where)
            for option, meaning in choices.items():
                _maybe_content(meaning, (*where, option))
            options: list[Option] = list(choices)
            require_different(options, where, least=1, most=limits.options)
            return AskedQuestion("choice", tuple(options), instructions, name, place=place)
        case "score":
            levels = array(required(question, "criteria", place), where)
            options = [_content(level, (*where, n)) for n, level in enumerate(levels)]
            require_different(options, where, least=1, most=limits.options)
            return AskedQuestion("score", tuple(options), instructions, name, place=place)
        case "noul":
            given = question.get("criteria")
            sides = {} if given is None else mapping(given, where)
            yes = _maybe_content(sides.get("true"), (*where, "true"))
            no = _maybe_content(sides.get("false"), (*where, "false"))
            if instructions is None and yes is None and no is None:
                raise wrong(place, "has neither instructions nor criteria", "missing")
            return AskedQuestion("predicate", (), instructions, name, yes=yes, no=no, place=place)
        case _:
            raise wrong((*place, "type"), "is none of choice, noul, score")


def word(asked: Asked, reply: Reply) -> dict[str, Any]:
    """The body of a reply."""
    return {
        "model": reply.model,
        "answers": {
            question.name: _answer(question, answer)
            for question, answer in zip(asked.questions, reply.answers, strict=True)
        },
        "usage": _USAGE,
    }


def _answer(question: AskedQuestion, answer: Answered) -> dict[str, Any]:
    (probs,) = answer.probs
    if question.kind == "predicate":
        return {"type": "noul", "noul": probs[0]}
    place = best(probs)
    if question.kind == "score":
        return {
            "type": "score",
            "score": sum(value * prob for value, prob in enumerate(probs)),
            "confidence": probs[place],
            "legend": {str(value): said for value, said in enumerate(answer.options)},
            "probabilities": {str(value): prob for value, prob in enumerate(probs)},
        }
    return {
        "type": "choice",
        "choice": answer.options[place],
        "confidence": probs[place],
        "probabilities": dict(zip(answer.options, probs, strict=True)),
    }


def error(refusal: Refusal) -> tuple[int, dict[str, Any]]:
    """An error as TypeSafe words it: what is wrong with a request's shape as a list of places."""
    if refusal.status != 422:
        return refusal.status, {"detail": refusal.message, "code": refusal.code}
    place = ["body", *refusal.place]
    return 422, {"detail": [{"loc": place, "msg": refusal.message, "type": refusal.code}]}
