"""Answers to prompts: what the filters let through, and the files that hold them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tutelage.errors import TargetsCorrupt, TargetsMismatch
from tutelage.targets import read_manifest
from tutelage.targets.kinds import TextOptions
from tutelage.targets.languages import _identifier, language_problem
from tutelage.targets.text import (
    FILE,
    WrittenAnswer,
    counted,
    leave_out,
    plain,
    read_answers,
    write_answers,
)

ONE = WrittenAnswer("train", "Say hello", "prompts.jsonl", 1, 0, "Hello there")
TEXTS = st.text(st.sampled_from("ab \n\té"), max_size=6)
ANSWERS = st.lists(
    st.builds(
        replace,
        st.just(ONE),
        part=st.sampled_from(("train", "test")),
        prompt=st.sampled_from("xyz"),
        sample=st.integers(0, 3),
        text=TEXTS,
        left_out=st.sampled_from((None, None, "empty")),
        messages=st.sampled_from(((), ({"role": "user", "content": "x"},))),
    ),
    max_size=12,
)
OPTIONS = st.builds(
    TextOptions,
    shortest=st.integers(1, 3),
    longest=st.one_of(st.none(), st.integers(3, 5)),
    languages=st.none(),
    duplicates=st.sampled_from(("keep", "per_prompt", "anywhere")),
)


@given(ANSWERS, OPTIONS)
def test_filters_lose_nothing_and_keep_what_they_promise(
    answers: list[WrittenAnswer], options: TextOptions
) -> None:
    found = leave_out(answers, options)
    assert [replace(one, left_out=None) for one in found] == [
        replace(one, left_out=None) for one in answers
    ]
    kept = [one for one in found if one.left_out is None]
    longest = options.longest or 99
    assert all(options.shortest <= len(one.text.strip()) <= longest for one in kept)
    per_prompt = [(one.part, one.prompt, plain(one.text)) for one in kept]
    anywhere = [(one.part, plain(one.text)) for one in kept]
    if options.duplicates != "keep":
        assert len(set(per_prompt)) == len(per_prompt)
    if options.duplicates == "anywhere":
        assert len(set(anywhere)) == len(anywhere)
    # A reason that an answer came with stays, and filtering twice is filtering once.
    assert all(
        after.left_out == before.left_out
        for before, after in zip(answers, found, strict=True)
        if before.left_out
    )
    assert leave_out(found, options) == found
    parts = counted(found)
    assert sum(part["asked"] for part in parts.values()) == len(answers)
    assert sum(part["kept"] for part in parts.values()) == len(kept)


def test_every_filter_has_its_reason() -> None:
    answers = [
        ONE,
        replace(ONE, sample=1, text=" Hello\n there "),
        replace(ONE, prompt="Greet me", text="Hello there"),
        replace(ONE, text="Hi"),
        replace(ONE, text="Hello " * 9),
        replace(ONE, part="test"),
    ]
    options = TextOptions(shortest=3, longest=20, duplicates="anywhere")
    assert [one.left_out for one in leave_out(answers, options)] == [
        None,
        "repeated for its prompt",
        "given to another prompt",
        "too short",
        "too long",
        None,
    ]
    assert leave_out(answers, replace(options, duplicates="per_prompt"))[2].left_out is None


@given(ANSWERS)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, answers: list[WrittenAnswer]
) -> None:
    folder = tmp_path_factory.mktemp("answers") / "targets"
    answers = [replace(one, text=f"{one.text}\u2028\u0085") for one in answers]
    write_answers(folder, answers, teacher="t1")
    assert read_answers(folder, teacher="t1") == answers


def test_answers_of_others_or_damaged_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetsCorrupt, match="no whole answers"):
        read_answers(tmp_path)
    write_answers(tmp_path, [ONE], teacher="t1")
    with pytest.raises(TargetsMismatch, match="another teacher"):
        read_answers(tmp_path, teacher="t2")
    with pytest.raises(TargetsMismatch, match="answers to prompts as text, not soft targets"):
        read_manifest(tmp_path)
    content = (tmp_path / FILE).read_text("utf-8")
    (tmp_path / FILE).write_text(content.replace("Hello", "Jello"), "utf-8")
    with pytest.raises(TargetsCorrupt, match="does not match the checksum"):
        read_answers(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": 1}', "utf-8")
    with pytest.raises(TargetsMismatch, match="other targets"):
        read_answers(tmp_path)


def test_answers_in_another_language_are_left_out() -> None:
    pytest.importorskip("py3langid")
    texts = [
        "I am sorry, but I do not know that.",
        "Ich weiß es leider auch nicht.",
        "42",
        "Paris",
        "def double(x):\n    return 2 * x",
        "Aquí hay tres ideas para tu proyecto.",
    ]
    answers = [replace(ONE, sample=at, text=text) for at, text in enumerate(texts)]

    def reasons(*languages: str) -> list[str | None]:
        return [one.left_out for one in leave_out(answers, TextOptions(languages=languages))]

    foreign = "in another language"
    assert reasons("en") == [None, foreign, None, None, None, foreign]
    assert reasons("en", "de") == [None, None, None, None, None, foreign]
    assert reasons("de") == [foreign, None, None, None, None, foreign]


def test_what_keeps_languages_from_being_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("py3langid")
    assert language_problem(("en", "de", "zh")) is None
    assert "'english' is none of the" in str(language_problem(("en", "english")))
    _identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    assert "pip install 'tutelage[languages]'" in str(language_problem(("en",)))
