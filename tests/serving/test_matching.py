"""A question finds its student by labels and instructions, or is told what is answered here."""

import pytest

from tutelage_runtime.serving.answering import AskedQuestion, Refusal, ServedQuestion
from tutelage_runtime.serving.errors import ServeError
from tutelage_runtime.serving.matching import Predicate, Questions


def served(name, *labels, instructions=None, **descriptions):
    return ServedQuestion(name, "v1", labels, instructions, descriptions)


MOOD = served("mood", "sad", "happy", happy="The writer is glad.")
TOPIC = served("topic", "sport", "caf\u00e9", "news", instructions="What is it  about?")


def found(asked, *students, **predicates):
    match = Questions(students or (MOOD, TOPIC), predicates or None).find(asked)
    return match.student, match.columns


def test_options_are_labels_in_any_order_and_any_spelling_of_unicode():
    asked = AskedQuestion("choice", ("cafe\u0301", "news", "sport"), "What is it\nabout? ")
    assert found(asked) == (1, (1, 2, 0))


def test_no_instructions_of_a_student_means_any():
    assert found(AskedQuestion("choice", ("happy", "sad"), "Guess!")) == (0, (1, 0))
    assert found(AskedQuestion("choice", ("happy", "sad"), None)) == (0, (1, 0))


def test_instructions_of_a_student_mean_these():
    with pytest.raises(Refusal, match="those of topic, asked with other instructions") as caught:
        found(AskedQuestion("choice", ("sport", "café", "news"), "Which section?"))
    assert caught.value.status == 404


def test_the_student_of_these_instructions_goes_before_that_of_any():
    strict = served("strict", "sad", "happy", instructions="Is the writer sad?")
    question = AskedQuestion("choice", ("sad", "happy"), "Is the writer sad?")
    assert found(question, MOOD, strict)[0] == 1
    assert found(question, strict, MOOD)[0] == 0
    assert found(AskedQuestion("choice", ("sad", "happy"), "Else?"), strict, MOOD)[0] == 1


@pytest.mark.parametrize("options", [("sad",), ("sad", "happy", "so so"), ("Sad", "Happy")])
def test_other_options_are_another_question_and_the_error_names_those_served(options):
    with pytest.raises(Refusal, match=r"Served: mood: sad, happy; topic: sport.*What is it about"):
        found(AskedQuestion("choice", options, "?"))


def test_booleans_are_the_labels_true_and_false():
    truth = served("truth", "false", "true")
    assert found(AskedQuestion("choice", (True, False), "?"), truth) == (0, (1, 0))
    with pytest.raises(Refusal):
        found(AskedQuestion("choice", (True, "true"), "?"), truth)


def test_levels_are_labels_or_what_they_mean():
    level = served("level", "1", "0", **{"0": "Can wait", "1": "Needs attention"})
    assert found(AskedQuestion("score", ("0", "1")), level) == (0, (1, 0))
    assert found(AskedQuestion("score", ("Can wait", "Needs attention")), level) == (0, (1, 0))
    with pytest.raises(Refusal):
        found(AskedQuestion("score", ("Can wait", "Can wait  ")), level)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ({"instructions": "The right label for the text is: happy"}, (0, (1,))),
        ({"instructions": "The right label for the text is: sad"}, (0, (0,))),
        (
            {"instructions": "X\n\nThe right label for the text is: happy (The writer is glad.)"},
            (0, (1,)),
        ),
        (
            {"instructions": "What is it about?\n\nThe right label for the text is: news"},
            (1, (2,)),
        ),
        ({"instructions": "The writer is  glad."}, (0, (1,))),
        ({"instructions": "happy"}, (0, (1,))),
        ({"instructions": "How is it?", "yes": "happy", "no": "sad"}, (0, (1,))),
        ({"yes": "The writer is glad."}, (0, (1,))),
    ],
)
def test_a_predicate_is_answered_where_it_is_certain_what_a_yes_means(asked, answer):
    assert found(AskedQuestion("predicate", **asked)) == answer


@pytest.mark.parametrize(
    "asked",
    [
        {"instructions": "Is the writer happy?"},
        {"instructions": "Is the writer not happy?"},
        {"instructions": "Y The right label for the text is: news"},
        {"instructions": "Is it?", "yes": "happy", "no": "happy"},
        {"instructions": "Is it?", "yes": "happy", "no": "neither"},
        {"instructions": "The right label for the text is: angry"},
        {"instructions": "The right label for the text is: angry (not happy)"},
    ],
)
def test_a_predicate_is_not_guessed(asked):
    with pytest.raises(Refusal, match="what a yes to this question means is not known"):
        found(AskedQuestion("predicate", **asked))


def test_what_a_yes_means_can_be_said():
    predicates = {"Is the writer not happy?": Predicate("sad")}
    questions = Questions((MOOD, TOPIC), predicates)
    match = questions.find(AskedQuestion("predicate", (), "Is the writer  not happy?"))
    assert (match.student, match.columns) == (0, (0,))
    with pytest.raises(ServeError, match="'angry', which no students have"):
        Questions((MOOD,), {"Is it?": Predicate("angry")})
    with pytest.raises(ServeError, match="served are mood"):
        Questions((MOOD,), {"Is it?": Predicate("sad", "topic")})


def test_two_that_answer_the_same_question_are_refused():
    again = served("again", "happy", "sad")
    with pytest.raises(ServeError, match="mood and again answer the same question"):
        Questions((MOOD, again))
    with pytest.raises(ServeError, match="two students are called 'mood'"):
        Questions((MOOD, served("mood", "a", "b")))


def test_classes_are_asked_of_a_model_by_name():
    questions = Questions((MOOD, TOPIC))
    for model in ("topic", "tutelage/topic", "tutelage/topic@v1"):
        assert questions.find(AskedQuestion("classes"), model).student == 1
    with pytest.raises(Refusal, match="name one of mood, topic"):
        questions.find(AskedQuestion("classes"), "gpt")
    assert Questions((MOOD,)).find(AskedQuestion("classes"), "gpt").options == ("sad", "happy")


def test_found_matches_are_remembered_but_not_without_end():
    questions = Questions((MOOD,))
    for number in range(2_000):
        questions.find(AskedQuestion("choice", ("happy", "sad"), f"{number}"))
    assert len(questions._found) <= 512
    before = len(questions._found)
    questions.find(AskedQuestion("choice", ("happy", "sad"), "x" * 30_000))
    assert len(questions._found) == before


def test_what_is_remembered_of_questions_is_bounded():
    questions = Questions((MOOD,))
    for spaces in (1, 100_000):
        levels = (" " * spaces + "sad", "happy")
        assert questions.find(AskedQuestion("score", levels)).columns == (0, 1)
    assert len(questions._found) == 1
