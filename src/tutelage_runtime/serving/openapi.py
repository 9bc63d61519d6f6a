"""The OpenAPI 3.1 description at `/openapi.json`, written by hand from the protocols.

It describes what is read and what is worded here, which is less than what those APIs take: no
images, no conversations. Numbers are those of the server's limits.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from tutelage_runtime.serving.limits import Limits
from tutelage_runtime.serving.words import MOST_CHARACTERS

Schema = dict[str, Any]


def document(limits: Limits, *, secured: bool) -> Schema:
    """The description of a server with these limits.

    Args:
        limits: How large requests may be.
        secured: Whether a bearer token is asked for.
    """
    paths = {
        "/v1/decisions": _post(
            "decide",
            "Answer questions about a text, as OpenAI's decision API does",
            _decision_request(limits),
            _DECISION,
            "OpenAIError",
        ),
        "/v1/systemone": _post(
            "systemOne",
            "Answer questions about a state, as TypeSafe's System One does",
            _system_one_request(limits),
            _SYSTEM_ONE,
            "TypeSafeError",
        ),
        "/classify": _post(
            "classify",
            "Class probabilities of texts, as vLLM gives them",
            _classify_request(limits),
            _CLASSIFY,
            "VLLMError",
        ),
        "/explain": _post(
            "explain",
            "Which words of a text moved a student's answer",
            _explain_request(limits),
            _EXPLAIN,
            "OpenAIError",
        ),
        "/students": _get("students", "Students and the questions that they answer", _STUDENTS),
        "/v1/models": _get("models", "Students as models, for clients that list them", _MODELS),
        "/health": _get("health", "Whether the process is alive", _status("alive"), open_to=True),
        "/ready": _ready(),
        "/metrics": _text("metrics", "Counts in Prometheus' text format", "text/plain"),
        "/": _text("page", "A page to try a student", "text/html", open_to=True),
    }
    described: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "tutelage serve",
            "version": _version(),
            "description": "Distilled students that speak the protocols of decision APIs.",
        },
        "paths": paths,
        "components": {"schemas": _ERRORS},
    }
    if secured:
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
    return described


def _version() -> str:
    for name in ("tutelage-runtime", "tutelage"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "0"


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(required: str = "", **properties: Schema) -> Schema:
    """An object; what it has besides is not said."""
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required.split()} if required else {})


def _array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


_STRING: Schema = {"type": "string"}
_MAYBE_STRING: Schema = {"type": ["string", "null"]}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_PROB: Schema = {"type": "number", "minimum": 0, "maximum": 1.000001}
_NUMBER: Schema = {"type": "number"}


def _json_content(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _error(description: str, name: str) -> Schema:
    return {"description": description, "content": _json_content(_ref(name))}


def _errors(name: str) -> Schema:
    meanings = {
        "400": "The body is no JSON, or has another shape, or more of something than is taken",
        "401": "The token is missing or wrong",
        "404": "No student answers this question; the message names those that are answered",
        "408": "The body did not come in time",
        "413": "The body is larger than the limit",
        "415": "The body is not JSON",
        "422": "The body has another shape, or more of something than is taken",
        "421": "The Host header names another server",
        "500": "The server failed",
        "503": "Too much waits already; Retry-After says when to come again",
    }
    return {status: _error(meaning, name) for status, meaning in meanings.items()}


def _post(name: str, summary: str, request: Schema, reply: Schema, error: str) -> Schema:
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "requestBody": {"required": True, "content": _json_content(request)},
            "responses": {
                "200": {"description": "The answers", "content": _json_content(reply)},
                **_errors(error),
            },
        }
    }


def _get(name: str, summary: str, reply: Schema, *, open_to: bool = False) -> Schema:
    responses: Schema = {"200": {"description": summary, "content": _json_content(reply)}}
    if not open_to:
        responses["401"] = _error("The token is missing or wrong", "OpenAIError")
    responses["421"] = _error("The Host header names another server", "OpenAIError")
    described: Schema = {"operationId": name, "summary": summary, "responses": responses}
    return {"get": described | ({"security": []} if open_to else {})}


def _text(name: str, summary: str, kind: str, *, open_to: bool = False) -> Schema:
    described = _get(name, summary, {}, open_to=open_to)
    content = {kind: {"schema": {"type": "string"}}}
    described["get"]["responses"]["200"] = {"description": summary, "content": content}
    return described


def _ready() -> Schema:
    ready = _object("status students", status={"const": "ready"}, students=_array(_STRING))
    described = _get("ready", "Whether requests are taken", ready, open_to=True)
    described["get"]["responses"]["503"] = {
        "description": "The server goes down",
        "content": _json_content(_status("draining")),
    }
    return described


def _status(word: str) -> Schema:
    return _object("status", status={"const": word})


def _decision_request(limits: Limits) -> Schema:
    parts = {
        "anyOf": [
            _STRING,
            _array(
                {
                    "oneOf": [
                        _object("type text", type={"const": "input_text"}, text=_STRING),
                        _object(
                            "type data",
                            type={"const": "input_json"},
                            data={"type": ["object", "array"]},
                        ),
                    ]
                }
            ),
        ]
    }
    message = _object(
        "role content", type={"const": "message"}, role={"const": "user"}, content=parts
    )
    choice = _object("value", value={"type": ["string", "boolean"]}, description=_MAYBE_STRING)
    level = _object("label", label=_STRING, description=_MAYBE_STRING)
    several = {"minItems": 2, "maxItems": limits.options, "uniqueItems": True}

    def question(kind: str, **more: Schema) -> Schema:
        return _object(
            " ".join(["type", "instructions", *more]),
            type={"const": kind},
            name=_MAYBE_STRING,
            instructions=parts,
            **more,
        )

    questions = {
        "oneOf": [
            question("choice", choices=_array(choice, **several)),
            question("predicate"),
            question("score", levels=_array(level, **several)),
        ]
    }
    text = {"type": "string", "maxLength": limits.text_characters}
    return _object(
        "model input questions",
        model=_STRING,
        input={"anyOf": [text, _array(message, minItems=1)]},
        questions=_array(questions, minItems=1, maxItems=limits.questions),
    )


_DECISION = _object(
    "model answers usage",
    model=_STRING,
    answers=_array(
        {
            "oneOf": [
                _object(
                    "type name choice confidence probabilities",
                    type={"const": "choice"},
                    name=_MAYBE_STRING,
                    choice={"type": ["string", "boolean"]},
                    confidence=_PROB,
                    probabilities=_array(
                        _object(
                            "value probability",
                            value={"type": ["string", "boolean"]},
                            probability=_PROB,
                        )
                    ),
                ),
                _object(
                    "type name probability",
                    type={"const": "predicate"},
                    name=_MAYBE_STRING,
                    probability=_PROB,
                ),
                _object(
                    "type name score confidence probabilities",
                    type={"const": "score"},
                    name=_MAYBE_STRING,
                    score=_NUMBER,
                    confidence=_PROB,
                    probabilities=_array(
                        _object(
                            "value label probability",
                            value=_COUNT,
                            label=_STRING,
                            probability=_PROB,
                        )
                    ),
                ),
            ]
        }
    ),
    usage=_object(
        "input_tokens output_tokens total_tokens",
        input_tokens=_COUNT,
        output_tokens=_COUNT,
        total_tokens=_COUNT,
    ),
)


def _system_one_request(limits: Limits) -> Schema:
    content = {"type": ["string", "object", "array"]}
    maybe = {"type": ["string", "object", "array", "null"]}
    choice = _object(
        "type criteria",
        type={"const": "choice"},
        instructions=maybe,
        criteria={
            "type": "object",
            "additionalProperties": maybe,
            "minProperties": 1,
            "maxProperties": limits.options,
        },
    )
    noul = _object("type instructions", type={"const": "noul"}, instructions=content)
    noul["properties"]["criteria"] = {
        "type": ["object", "null"],
        "properties": {"true": maybe, "false": maybe},
    }
    score = _object(
        "type criteria",
        type={"const": "score"},
        instructions=maybe,
        criteria=_array(content, minItems=1, maxItems=limits.options, uniqueItems=True),
    )
    return _object(
        "model state questions",
        model=_STRING,
        state={**content, "maxLength": limits.text_characters},
        questions={
            "type": "object",
            "minProperties": 1,
            "maxProperties": limits.questions,
            "additionalProperties": {"oneOf": [choice, noul, score]},
        },
    )


_SYSTEM_ONE = _object(
    "model answers usage",
    model=_STRING,
    answers={
        "type": "object",
        "additionalProperties": {
            "oneOf": [
                _object(
                    "type choice confidence probabilities",
                    type={"const": "choice"},
                    choice=_STRING,
                    confidence=_PROB,
                    probabilities={"type": "object", "additionalProperties": _PROB},
                ),
                _object("type noul", type={"const": "noul"}, noul=_PROB),
                _object(
                    "type score confidence legend probabilities",
                    type={"const": "score"},
                    score=_NUMBER,
                    confidence=_PROB,
                    legend={"type": "object", "additionalProperties": _STRING},
                    probabilities={"type": "object", "additionalProperties": _PROB},
                ),
            ]
        },
    },
    usage=_object("input_tokens output_tokens", input_tokens=_COUNT, output_tokens=_COUNT),
)


def _classify_request(limits: Limits) -> Schema:
    text = {"type": "string", "maxLength": limits.text_characters}
    texts = _array(text, minItems=1, maxItems=limits.texts)
    return _object("input", model=_MAYBE_STRING, input={"anyOf": [text, texts]})


_CLASSIFY = _object(
    "id object created model data usage",
    id=_STRING,
    object={"const": "list"},
    created=_COUNT,
    model=_STRING,
    data=_array(
        _object(
            "index label probs num_classes",
            index=_COUNT,
            label=_STRING,
            probs=_array(_PROB),
            num_classes=_COUNT,
        )
    ),
    usage=_object(
        "prompt_tokens total_tokens completion_tokens",
        prompt_tokens=_COUNT,
        total_tokens=_COUNT,
        completion_tokens=_COUNT,
    ),
)


def _explain_request(limits: Limits) -> Schema:
    most = min(limits.text_characters, MOST_CHARACTERS)
    return _object("text", text={"type": "string", "maxLength": most}, student=_MAYBE_STRING)


_EXPLAIN = _object(
    "student label labels probs words cut",
    student=_STRING,
    label=_STRING,
    labels=_array(_STRING),
    probs=_array(_PROB),
    words=_array(_object("start end change", start=_COUNT, end=_COUNT, change=_NUMBER)),
    cut={"type": "boolean"},
)
_STUDENTS = _object(
    "students",
    students=_array(
        _object(
            "name version model labels descriptions instructions",
            name=_STRING,
            version=_STRING,
            model=_STRING,
            labels=_array(_STRING),
            descriptions={"type": "object", "additionalProperties": _STRING},
            instructions=_MAYBE_STRING,
        )
    ),
)
_MODELS = _object(
    "object data models",
    object={"const": "list"},
    data=_array(
        _object(
            "id object created owned_by",
            id=_STRING,
            object={"const": "model"},
            created=_COUNT,
            owned_by=_STRING,
        )
    ),
    models=_array(
        _object(
            "name description release_date",
            name=_STRING,
            description=_STRING,
            release_date=_STRING,
        )
    ),
)
_ERROR_BODY = _object("message type code", message=_STRING, type=_STRING, param=_MAYBE_STRING)
_ERRORS: Schema = {
    "OpenAIError": _object("error", error=_ERROR_BODY),
    "VLLMError": _object("error", error=_ERROR_BODY),
    "TypeSafeError": _object(
        "detail",
        detail={
            "anyOf": [
                _STRING,
                _array(
                    _object(
                        "loc msg type",
                        loc=_array({"type": ["string", "integer"]}),
                        msg=_STRING,
                        type=_STRING,
                    )
                ),
            ]
        },
    ),
}
