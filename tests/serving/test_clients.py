"""Clients that were written for the real APIs, unmodified, against the server."""

import openai
import pytest
from tests.serving.fakes import SURE, Fake, running
from typesafe_sdk import (
    Choice,
    Noul,
    RetryPolicy,
    Score,
    TypeSafeAuthenticationError,
    TypeSafeClient,
    TypeSafeNotFoundError,
    TypeSafeUnprocessableEntityError,
)

from tutelage.teachers.api.protocol import Question
from tutelage.teachers.api.protocols.classify import Classify
from tutelage.teachers.api.protocols.decisions import Decisions
from tutelage.teachers.api.protocols.systemone import SystemOne

CHOICE = {
    "type": "choice",
    "name": "mood",
    "instructions": "How is it?",
    "choices": [{"value": "happy", "description": "Glad."}, {"value": "sad"}],
}


@pytest.fixture
def openai_client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        yield client


@pytest.fixture
def typesafe_client(server):
    retry = RetryPolicy(max_retries=0)
    with TypeSafeClient(api_key="any", base_url=server.url, retry=retry) as client:
        yield client


def test_openai_asks_all_kinds_of_questions(openai_client):
    decision = openai_client.decisions.create(
        model="gpt-6-luna",
        input="a happy day",
        questions=[
            CHOICE,
            {"type": "predicate", "instructions": "The right label for the text is: sad"},
            {
                "type": "score",
                "instructions": "How glad?",
                "levels": [{"label": "sad"}, {"label": "happy"}],
            },
        ],
    )
    choice, predicate, score = decision.answers
    assert (choice.type, choice.name, choice.choice) == ("choice", "mood", "happy")
    assert choice.confidence == pytest.approx(SURE)
    assert [one.value for one in choice.probabilities] == ["happy", "sad"]
    assert (predicate.type, predicate.name) == ("predicate", None)
    assert predicate.probability == pytest.approx(1 - SURE)
    assert score.score == pytest.approx(SURE)
    assert [(one.value, one.label) for one in score.probabilities] == [(0, "sad"), (1, "happy")]
    assert decision.model == "tutelage/mood@v1"
    assert decision.usage.total_tokens == 0
    assert decision._request_id


def test_openai_asks_about_messages(openai_client):
    content = [{"type": "input_text", "text": "a happy"}, {"type": "input_text", "text": "day"}]
    decision = openai_client.decisions.create(
        model="m", input=[{"role": "user", "content": content}], questions=[CHOICE]
    )
    assert decision.answers[0].choice == "happy"


def test_openai_raises_its_own_errors(openai_client):
    other = CHOICE | {"choices": [{"value": "a"}, {"value": "b"}]}
    with pytest.raises(openai.NotFoundError, match="Served: mood: sad, happy") as caught:
        openai_client.decisions.create(model="m", input="x", questions=[other])
    assert caught.value.code == "question_not_found"
    assert caught.value.param == "questions[0]"
    with pytest.raises(openai.BadRequestError, match="questions"):
        openai_client.decisions.create(model="m", input="x", questions=[])


def test_openai_lists_students_as_models(openai_client):
    assert [one.id for one in openai_client.models.list()] == [
        "tutelage/mood@v1",
        "tutelage/topic@v2",
    ]


def test_the_token_of_openai_is_the_one_that_is_asked_for():
    token = "a-token-of-more-than-16-characters"
    with running({"mood": Fake("sad", "happy")}, token=token) as server:
        url = f"{server.url}/v1"
        with openai.OpenAI(base_url=url, api_key=token, max_retries=0) as client:
            client.decisions.create(model="m", input="x", questions=[CHOICE])
        with (
            openai.OpenAI(base_url=url, api_key="wrong", max_retries=0) as client,
            pytest.raises(openai.AuthenticationError, match="Bearer TOKEN"),
        ):
            client.decisions.create(model="m", input="x", questions=[CHOICE])


def test_typesafe_asks_all_kinds_of_questions(typesafe_client):
    found = typesafe_client.system_one(
        state="a happy day",
        model="jev-latest",
        questions={
            "mood": Choice(criteria={"happy": "Glad.", "sad": None}),
            "glad": Noul(instructions="The writer is glad."),
            "sad": Noul(instructions="How is it?", criteria={"true": "sad", "false": "happy"}),
            "how": Score(criteria=["sad", "happy"]),
        },
    )
    assert found.choices["mood"].choice == "happy"
    assert list(found.choices["mood"].probabilities) == ["happy", "sad"]
    assert found.choices["mood"].confidence == pytest.approx(SURE)
    assert found.nouls["glad"].noul == pytest.approx(SURE)
    assert found.nouls["sad"].noul == pytest.approx(1 - SURE)
    assert found.scores["how"].score == pytest.approx(SURE)
    assert found.scores["how"].legend == {0: "sad", 1: "happy"}
    assert found.model == "tutelage/mood@v1"


def test_typesafe_raises_its_own_errors(typesafe_client):
    ask = typesafe_client.system_one
    with pytest.raises(TypeSafeNotFoundError, match="Served: mood: sad, happy"):
        ask(state="x", questions={"q": Choice(criteria={"a": None, "b": None})})
    with pytest.raises(TypeSafeUnprocessableEntityError, match=r"questions\.q\.type"):
        ask(state="x", questions={"q": {"type": "box"}})
    with (
        running({"mood": Fake("sad", "happy")}, token="a-token-of-16-characters") as server,
        TypeSafeClient(api_key="wrong", base_url=server.url) as client,
        pytest.raises(TypeSafeAuthenticationError, match="Bearer TOKEN"),
    ):
        client.system_one(state="x", questions={"q": Choice(criteria={"a": None})})


def test_typesafe_lists_students_as_models(typesafe_client):
    listed = typesafe_client.models.list()
    assert [one.name for one in listed.models] == ["tutelage/mood@v1", "tutelage/topic@v2"]


@pytest.mark.parametrize(
    "protocol",
    [
        Decisions(Question(("happy", "sad")), "m"),
        Decisions(Question(("happy", "sad"), instruction="How?"), "m", yes="sad"),
        Decisions(
            Question(("happy", "sad"), descriptions={"happy": "The writer is glad."}),
            "m",
            yes="happy",
        ),
        SystemOne(Question(("happy", "sad")), "m"),
        SystemOne(Question(("happy", "sad"), descriptions={"sad": "Not so."}), "m", yes="sad"),
        Classify(Question(("happy", "sad")), "mood", label_names=("sad", "happy")),
    ],
)
def test_a_student_can_be_the_teacher_of_another(server, protocol):
    (request,) = protocol.requests("a happy day")
    root = "" if request.path.startswith("/") else "/v1/"
    status, reply, _ = server.ask(f"{root}{request.path}", dict(request.body))
    assert status == 200
    assert protocol.read([reply]).probs == pytest.approx([SURE, 1 - SURE])
