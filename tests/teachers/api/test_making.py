from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from tutelage.config.specs import field_notes
from tutelage.errors import ModelError
from tutelage.tasks.teachers import CLASS_TEACHERS
from tutelage.teachers.api.protocol import Question
from tutelage.teachers.api.protocols.making import AskingOptions, problems, protocol_named
from tutelage.teachers.api.protocols.options import PROTOCOLS

TWO = Question(("spam", "ham"))
MANY = Question(tuple(f"label {number}" for number in range(40)))


def made(name, question=TWO, *, shots=(), **options) -> Any:
    return protocol_named(name, question, model="m", options=AskingOptions(**options), shots=shots)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_is_made_and_has_settings_that_are_json_and_stay(name):
    protocol = made(name)
    assert json.dumps(dict(protocol.settings)) == json.dumps(dict(made(name).settings))
    json.dumps([dict(request.body) for request in protocol.requests("Hello")])
    assert protocol.settings != made(name, extra_body={"seed": 3}).settings
    assert protocol.settings != made(name, Question(("ham", "spam"))).settings


def test_every_option_says_what_it_means():
    assert set(field_notes(AskingOptions)) == set(AskingOptions.__dataclass_fields__)


def test_every_protocol_has_a_recipe_in_its_page_that_is_read():
    page = (Path(__file__).parents[3] / "docs" / "protocols.md").read_text(encoding="utf-8")
    (kind,) = [one for one in CLASS_TEACHERS if "protocol" in one.model_fields]
    blocks = re.findall(r"```yaml\n(teacher:.*?)```", page, flags=re.DOTALL)
    read = [kind.model_validate(YAML(typ="safe").load(block)["teacher"]) for block in blocks]
    assert [one.protocol for one in read] == [
        *("decisions", "systemone", "classify", "chat", "completions")
    ]
    question = Question(("negative", "positive"))
    for one in read:
        assert problems(one.protocol, question, one.spec()) == []


@pytest.mark.parametrize(
    ("name", "question", "options", "where", "message"),
    [
        ("magic", TWO, {}, "protocol", "expected one of decisions, systemone"),
        ("chat", Question(("a",)), {}, "", "expected two or more"),
        ("systemone", MANY, {}, "groups", "40 labels, but systemone has 26 options"),
        ("chat", MANY, {}, "groups", "set `groups: auto`"),
        ("chat", MANY, {"answer_with": "letters"}, "groups", "`answer_with: labels`"),
        ("decisions", MANY, {"most_options": 6, "groups": "auto"}, "groups", "take fewer labels"),
        ("decisions", MANY, {"ask_as": "predicate", "yes": "label 1"}, "ask_as", "for two labels"),
        ("decisions", TWO, {"ask_as": "predicate"}, "yes", "nothing given; expected the label"),
        ("decisions", TWO, {"ask_as": "predicate", "yes": "eggs"}, "yes", "spam or ham"),
        ("decisions", TWO, {"yes": "spam"}, "yes", "without `ask_as: predicate`"),
        ("decisions", TWO, {"votes": 5}, "votes", "an option of chat, not of decisions"),
        ("classify", TWO, {"groups": "auto"}, "groups", "not of classify"),
        ("classify", TWO, {"label_names": ("spam", "eggs")}, "label_names", "is called ham"),
        ("classify", TWO, {"label_names": ("spam", "spam", "ham")}, "label_names", "twice"),
        ("completions", TWO, {"template": "Text:"}, "template", "exactly one {text}"),
        ("completions", TWO, {"verbalizers": {"eggs": ("x",)}}, "verbalizers", "'eggs'"),
        ("chat", Question(("Yes", "yes")), {}, "verbalizers", "set `match_case: true`"),
        ("chat", TWO, {"logprob_token_ids": {"spam": 3}}, "logprob_token_ids", "each label"),
        (
            "chat",
            TWO,
            {"logprob_token_ids": {"spam": 3, "ham": 3}},
            "logprob_token_ids",
            "the same id",
        ),
        (
            "chat",
            TWO,
            {"logprob_token_ids": {"spam": 3, "ham": 4}, "votes": 3},
            "votes",
            "leave one of them out",
        ),
        ("chat", TWO, {"groups": {"x": ("spam", "ham")}}, "groups", "two or more"),
        (
            "decisions",
            TWO,
            {"groups": {"x": ("spam",), "y": ("eggs",)}},
            "groups",
            "not one of the labels",
        ),
    ],
)
def test_what_keeps_a_protocol_from_asking_is_said(name, question, options, where, message):
    found = problems(name, question, AskingOptions(**options))
    assert any(one.where == where and message in one.message for one in found), found
    with pytest.raises(ModelError):
        made(name, question, **options)


def test_more_labels_than_are_listed_is_a_warning():
    question = Question(tuple(f"label {number}" for number in range(24)))
    (found,) = problems("chat", question, AskingOptions())
    assert (found.where, found.severity) == ("top_logprobs", "warning")
    assert not problems("chat", question, AskingOptions(votes=5))
    assert not problems("chat", question, AskingOptions(groups="auto", most_options=20))


def test_many_labels_are_asked_in_groups():
    (request,) = made("systemone", MANY, groups="auto").requests("x")
    sizes = [len(one["criteria"]) for one in request.body["questions"].values()]
    assert len(sizes) > 1
    assert max(sizes) <= 26
    chats = made("chat", MANY, groups="auto")
    assert len(chats.requests("x")) == len(chats.groups.questions)
    assert len(made("decisions", MANY).requests("x")) == 1


def test_groups_are_no_more_than_the_questions_of_a_request():
    many = Question(tuple(f"{chr(97 + number % 26)}{number}" for number in range(300)))
    (request,) = made("systemone", many, groups="auto", most_options=128).requests("x")
    assert len(request.body["questions"]) <= 64
    given = {f"g{number}": (label,) for number, label in enumerate(many.labels)}
    (found,) = problems("systemone", many, AskingOptions(most_options=300, groups=given))
    assert "300 groups given; expected at most 63" in found.message


def test_a_grouped_chat_reads_its_replies_in_their_order():
    question = Question(("apple", "avocado", "plum"))
    protocol = made(
        "chat",
        question,
        groups={"a": ("apple", "avocado"), "p": ("plum",)},
        answer_with="letters",
        votes=2,
        smoothing=0.0,
        shots=[("green", "avocado"), ("blue", "plum")],
        template="Fruit: {text}",
    )
    requests = protocol.requests("red")
    assert len(requests) == 4
    assert [turn["content"] for turn in requests[0].body["messages"][1::2]] == ["A", "B"]
    assert len(requests[2].body["messages"]) == 3
    said = ["A", "B", "apple", "apple"]
    replies = [
        {"choices": [{"finish_reason": "stop", "message": {"content": word}}]} for word in said
    ]
    answer = protocol.read(replies)
    np.testing.assert_allclose(answer.probs, [0.5, 0.0, 0.5])
    assert answer.votes == 2


def test_answers_are_letters_unless_first_characters_tell_labels_apart():
    assert made("chat", Question(("billing", "bonus"))).letters
    assert not made("chat", Question(("good", "bad"))).letters
    assert made("chat", Question(("good", "bad")), answer_with="letters").letters
    words = {"billing": ("billing",), "bonus": ("extra",)}
    assert not made("chat", Question(("billing", "bonus")), verbalizers=words).letters
