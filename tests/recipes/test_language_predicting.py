"""A language-model student asked for more text: on the command line, for a file, in a run and on
its own."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from tests.recipes.language_job import KNOWN, UNSEEN, texts, tiny_teacher
from transformers import AutoModelForCausalLM, AutoTokenizer

from tutelage.cli.main import main
from tutelage.data.documents.chat import render_chat, render_prompt
from tutelage.errors import DataError
from tutelage.recipes.predicting import load_student, student_folder, text_column
from tutelage.students import build_language_rnn, save_model
from tutelage.students.language.specs import LanguageRNN
from tutelage.tasks.language.writing import Writer

RECIPE = """\
task: {kind: causal_lm}
data: {train: train.jsonl, test: test.jsonl, FIELDS}
teacher: {kind: causal_lm, model: owner/name}
students: {gru: {kind: rnn}, copy: {kind: pruned, layers: 1}}
evaluate: {generation_tokens: 5}
"""
TEMPLATE = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<answer>{% endif %}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two students that have learned nothing."""
    folder = tmp_path_factory.mktemp("run")
    model, tokenizer = tiny_teacher(texts(KNOWN + UNSEEN, 100, seed=9))
    (folder / "recipe.yaml").write_text(RECIPE.replace("FIELDS", "text_field: body"))
    save_model(model, tokenizer, folder / "students" / "copy")
    save_model(
        build_language_rnn(LanguageRNN(hidden_size=8), tokenizer),
        tokenizer,
        folder / "students" / "gru",
    )
    nats = {"copy": 4.0, "gru": 5.0}
    students = {
        name: {"nats_per_token": {"value": value}, "accuracy": {"value": value}}
        for name, value in nats.items()
    }
    (folder / "evaluation.json").write_text(json.dumps({"task": "causal_lm", "students": students}))
    return folder


def expected(folder: Path, prompt: str, new_tokens: int) -> str:
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    ids = tokenizer(prompt, return_tensors="pt")
    written = model.generate(
        **ids, max_new_tokens=new_tokens, do_sample=False, pad_token_id=tokenizer.pad_token_id
    )
    return tokenizer.decode(written[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)


def test_the_command_line_goes_on_where_the_text_ends(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert student_folder(run).name == "copy"  # the fewest nats, though not the first by accuracy
    more = {
        name: expected(run / "students" / name, "<|end|>the good", 5) for name in ("copy", "gru")
    }
    assert more["copy"] != more["gru"]
    assert main(["predict", str(run), "the good", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {"text": "the good", "continuation": more["copy"]}
    ]
    assert main(["predict", str(run), "the good", "--student", "gru"]) == 0
    assert capsys.readouterr().out == f"the good{more['gru']}\n"


def test_a_file_is_answered_row_by_row(run: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("body\nthe good\na film\n")
    out = tmp_path / "out.csv"
    assert main(["predict", str(run), "--file", str(tmp_path / "new.csv"), "--out", str(out)]) == 0
    with out.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["text"] for row in rows] == ["the good", "a film"]
    assert rows[1]["continuation"] == expected(run / "students" / "copy", "<|end|>a film", 5)


def test_prompts_are_asked_as_they_were_trained(run: Path, tmp_path: Path) -> None:
    model, tokenizer = tiny_teacher(texts(KNOWN, 50, seed=9))
    tokenizer.chat_template = TEMPLATE
    save_model(model, tokenizer, tmp_path / "students" / "copy")
    (tmp_path / "recipe.yaml").write_text(
        RECIPE.replace("FIELDS", "prompt_field: question, response_field: answer")
    )
    assert text_column(tmp_path) == "question"
    folder = tmp_path / "students" / "copy"
    writer = load_student(folder)[1].writer
    assert writer.as_message
    assert writer.write("a film") == expected(folder, "<user>a film<answer>", 5)
    assert not load_student(run / "students" / "copy")[1].writer.as_message


def test_prompts_hold_the_day_that_training_documents_hold(tmp_path: Path) -> None:
    _, tokenizer = tiny_teacher(texts(KNOWN, 50, seed=9))
    tokenizer.chat_template = (
        "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% "
        "endif %}"
        "{{ date_string }}" + TEMPLATE.replace("<answer>", "<assistant>")
    )
    asked = [{"role": "user", "content": "a film"}]
    trained = render_chat(tokenizer, [*asked, {"role": "assistant", "content": "good"}])
    assert trained.text.startswith(render_prompt(tokenizer, asked).text)
    writer = Writer(None, tokenizer, as_message=True)
    assert tokenizer.decode(writer._ids("a film")) == render_prompt(tokenizer, asked).text
    assert render_prompt(tokenizer, asked).text.startswith("26 Jul 2024")


def test_without_a_run_and_without_room(run: Path, tmp_path: Path) -> None:
    (tmp_path / "alone").symlink_to(run / "students" / "copy")
    model, tokenizer = tiny_teacher(texts(KNOWN, 50, seed=9))
    save_model(model, tokenizer, tmp_path / "student")
    writer = load_student(tmp_path / "student")[1].writer
    assert (writer.as_message, writer.new_tokens) == (False, 64)
    with pytest.raises(
        DataError, match=r"the text has \d+ tokens, but the student reads and writes 128 in all"
    ):
        writer.write("film " * 200)
    assert writer.write("film " * 100) is not None  # as much as there is room for
