"""Recipes of the task causal_lm: values, places, problems."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import RecipeError
from tutelage.recipes.loading import load_recipe
from tutelage.students.language.pruned import Pruned
from tutelage.students.language.specs import LanguageRNN
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.sections import LiveTargetsSpec, SampledTargetsSpec
from tutelage.tasks.language.template import TEMPLATE as LANGUAGE_TEMPLATE
from tutelage.teachers.causal.spec import CausalTeacherSpec

MINIMAL = """\
task: {kind: causal_lm}
data: {train: train.jsonl, test: 0.1}
teacher: {kind: causal_lm, model: owner/name}
students:
  half: {kind: pruned, layers: 10}
"""


def load(folder: Path, text: str, *overrides: str) -> LanguageRecipe:
    path = folder / "answers.yaml"
    path.write_text(text, encoding="utf-8")
    recipe = load_recipe(path, overrides=overrides)
    assert isinstance(recipe, LanguageRecipe)
    return recipe


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(folder, text, *overrides)
    return [
        str(problem).removeprefix(f"{folder}/answers.yaml:") for problem in caught.value.problems
    ]


def test_defaults_and_absolute_paths(tmp_path: Path) -> None:
    recipe = load(tmp_path, MINIMAL)
    assert recipe.name == "answers"
    assert (recipe.task.sequence_length, recipe.task.long_documents) == (512, "refuse")
    data = recipe.data
    assert (data.train, data.test, data.validation) == (tmp_path / "train.jsonl", 0.1, 0.05)
    assert (data.text_field, data.prompt_field, data.response_field, data.messages_field) == (
        "text",
        None,
        None,
        None,
    )
    assert data.train_on == "response"
    assert recipe.teacher.spec() == CausalTeacherSpec(model="owner/name")
    assert (recipe.teacher.dtype, recipe.teacher.batch_tokens) == ("auto", 4096)
    assert recipe.targets == SampledTargetsSpec(kind="sampled")
    assert recipe.targets.spec().encoding() == {"threshold": 0.05}
    assert recipe.students["half"].spec() == Pruned(
        layers=10, choice="even", hidden_weight=0.0, lora=None
    )
    assert (recipe.objective.divergence, recipe.objective.soft_weight) == ("forward_kl", 0.8)
    assert (recipe.train.epochs, recipe.train.token_budget, recipe.train.precision) == (
        1,
        None,
        "auto",
    )
    assert (recipe.evaluate.control, recipe.export) == (False, ("transformers",))


def test_the_example_of_the_design(tmp_path: Path) -> None:
    recipe = load(
        tmp_path,
        "task: {kind: causal_lm, sequence_length: 512}\n"
        "data: {train: corpus.jsonl, test: heldout.jsonl, text_field: text}\n"
        "teacher: {kind: causal_lm, model: owner/name, dtype: bfloat16}\n"
        "targets: {kind: sampled, threshold: 0.02}\n"
        "students:\n  half: {kind: pruned, layers: 10}\n  gru: {kind: rnn, cell: gru, hidden_size: "
        "512}\n"
        "objective: {divergence: forward_kl, soft_weight: 0.8}\n"
        "train: {token_budget: 2_000_000, batch_tokens: 8192, learning_rate: 1e-3}\n",
    )
    assert recipe.train.token_budget == 2_000_000
    assert recipe.targets == SampledTargetsSpec(kind="sampled", threshold=0.02)
    assert recipe.students["gru"].spec() == LanguageRNN(cell="gru", hidden_size=512)


@pytest.mark.parametrize(
    ("section", "encoding"),
    [
        ("{kind: sampled, budget: 12}", {"budget": 12}),
        ("{kind: top_k}", {"k": 50}),
        ("{kind: hidden}", {"bits": 8}),
    ],
)
def test_what_the_store_is_told(tmp_path: Path, section: str, encoding: dict[str, Any]) -> None:
    targets = load(tmp_path, MINIMAL + f"targets: {section}\n").targets
    assert not isinstance(targets, LiveTargetsSpec)
    assert targets.encoding() == encoding


@pytest.mark.parametrize("fields", ["prompt_field: q, response_field: a", "messages_field: chat"])
def test_other_columns_take_the_place_of_text(tmp_path: Path, fields: str) -> None:
    data = load(tmp_path, MINIMAL.replace("test: 0.1", f"test: 0.1, {fields}")).data
    assert data.text_field is None


def test_template_loads_and_names_every_section(tmp_path: Path) -> None:
    recipe = load(tmp_path, LANGUAGE_TEMPLATE)
    assert set(recipe.students) == {"half", "gru"}
    for section in (
        "task",
        "data",
        "teacher",
        "targets",
        "students",
        "objective",
        "train",
        "evaluate",
        "export",
    ):
        assert re.search(rf"^{section}:", LANGUAGE_TEMPLATE, re.MULTILINE), section


def test_commented_keys_of_the_template_exist(tmp_path: Path) -> None:
    lines = re.findall(r"^ *# [a-z_]+: .*$", LANGUAGE_TEMPLATE, re.MULTILINE)
    assert len(lines) == 19
    ways = ("prompt_field", "response_field", "messages_field")
    for line in lines:
        key = line.strip("# ").partition(":")[0]
        text = LANGUAGE_TEMPLATE.replace(line, line.replace("# ", "", 1), 1)
        answers = "kind: text" in line
        if answers:
            text = re.sub(r"  soft_weight.*\n", "", text)
        if key in ways or answers:
            text = re.sub(r"  text_field: .*\n", "", text)
        if key in ways[:2] or answers:
            text = re.sub(r"  # ((?:prompt|response)_field)", r"  \1", text)
        if key == "kind":
            text = re.sub(r"  kind: sampled.*\n  threshold: .*\n", "", text)
        load(tmp_path, text)


def test_every_problem_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
task: {kind: causal_ml, sequence_length: 1, long_documents: cut}
data:
  train: corpus.txt
  test: 0.1
  messages_feild: chat
teacher: {kind: prompted, model: m, max_length: 3}
targets: {kind: class_probabilities}
students:
  a: {kind: prunned, layers: 3}
  b: {kind: pruned, choice: even}
  c: {kind: rnn, bidirectional: true}
  d: {kind: transformer, train: {seed: 1}, objective: {divergence: kl}}
objective: {divergence: hellinger, loss_temperature: 0}
train: {epochs: 2, token_budget: 10}
evaluate: {baselines: false}
"""
    assert problems(tmp_path, text) == [
        "1: `task.kind` is 'causal_ml'; expected one of classification, causal_lm; did you mean "
        "`causal_lm`?",
        "1: `task.sequence_length` is 1; expected a number greater than or equal to 2",
        "1: `task.long_documents` is 'cut'; expected one of refuse, split, truncate",
        "3: `data.train`: corpus.txt is not in a format that can be read; expected a file ending "
        "in .csv, .tsv, .jsonl, .parquet",
        "5: unknown key `messages_feild` in `data`; did you mean `messages_field`?",
        "6: `teacher.kind` is 'prompted'; expected one of causal_lm, api",
        "7: `targets.kind` is 'class_probabilities'; expected one of sampled, top_k, hidden, live, "
        "text",
        "9: `students.a.kind` is 'prunned'; expected one of pruned, transformer, rnn, pretrained; "
        "did you mean `pruned`?",
        "10: `students.b`: nothing is taken out; give layers, hidden_size, heads, "
        "intermediate_size or vocabulary",
        "11: unknown key `bidirectional` in `students.c`; known here: kind, lora, train, "
        "objective, cell, hidden_size, embedding_size, layers, dropout, embeddings",
        "12: unknown key `seed` in `students.d.train`; it belongs in `train`",
        "12: `students.d.objective.divergence` is 'kl'; expected one of forward_kl, reverse_kl, "
        "jensen_shannon, skew_forward_kl, skew_reverse_kl, total_variation, alpha_beta, "
        "adaptive_kl",
        "13: `objective.divergence` is 'hellinger'; expected one of forward_kl, reverse_kl, "
        "jensen_shannon, skew_forward_kl, skew_reverse_kl, total_variation, alpha_beta, "
        "adaptive_kl",
        "13: `objective.loss_temperature` is 0; expected a number greater than 0",
        "14: `train`: epochs (2) and token_budget (10) both say when to stop; remove one",
        "15: unknown key `baselines` in `evaluate`; known here: control, bootstrap_samples, "
        "generation_prompts, generation_tokens, prefer",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train: train.jsonl", "train: t.jsonl, text_field: null",
         "no column is named; name one of text_field"),
        ("train: train.jsonl", "train: t.jsonl, text_field: a, messages_field: b",
         "text_field and messages_field are given"),
        ("train: train.jsonl", "train: t.jsonl, response_field: b",
         "response_field is given without prompt_field"),
        ("train: train.jsonl", "train: t.jsonl, label_field: b",
         "unknown key `label_field` in `data`; did you mean"),
        ("kind: causal_lm, model: owner/name", "model: m",
         "`teacher` has no `kind`; expected one of causal_lm, api"),
        ("teacher: {kind: causal_lm, model: owner/name}", "",
         "expected teacher: {kind: causal_lm or api, model: ...}"),
        ("layers: 10}", "layers: 10, hidden_size: 64, hidden_weight: 1}\ntargets: {kind: live}",
         "5: `students.half`: hidden_weight compares states of equal width"),
        ("kind: pruned, layers: 10", "kind: transformer, hidden_size: 100, heads: 3",
         "100 does not divide into 3 heads of an even width"),
        ("kind: pruned, layers: 10", "kind: transformer, hidden_size: 101",
         "101 does not divide into heads of an even width"),
        ("kind: pruned, layers: 10", "kind: transformer, heads: 6, kv_heads: 4",
         "6 heads cannot share 4 kv_heads"),
        ("layers: 10", "layers: 10, lora: {rank: 0}",
         "`students.half.lora.rank` is 0; expected a number greater"),
        ("task:", "targets: {threshold: 0.1}\ntask:",
         "`targets` has no `kind`; expected one of sampled, top_k"),
        ("task:", "targets: {kind: sampled, threshold: 0.1, budget: 3}\ntask:",
         "threshold and budget are both given"),
        ("task:", "targets: {kind: sampled, threshold: null}\ntask:",
         "neither threshold nor budget is given"),
        ("task:", "targets: {kind: sampled, k: 3}\ntask:",
         "unknown key `k` in `targets`; known here: kind, threshold, budget"),
    ],
)  # fmt: skip
def test_refused_inside(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MINIMAL
    found = problems(tmp_path, MINIMAL.replace(old, new, 1))
    assert len(found) == 1
    assert message in found[0]


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (
            "objective: {divergence: reverse_kl}",
            "6: `objective.divergence`: sampled targets cannot serve reverse_kl exactly or without "
            "bias; choose "
            "targets of kind top_k or hidden or live, or forward_kl",
        ),
        (
            "targets: {kind: top_k}\nobjective: {divergence: jensen_shannon}",
            "7: `objective.divergence`: top_k targets cannot serve jensen_shannon exactly or "
            "without bias; choose "
            "targets of kind hidden or live, or forward_kl or reverse_kl",
        ),
        (
            "objective: {loss_temperature: 2}",
            "6: `objective.loss_temperature` is 2, but sampled targets hold what the teacher said "
            "at temperature 1; "
            "choose targets of kind hidden or live, or loss_temperature: 1",
        ),
        (
            "targets: {kind: hidden}\nobjective: {divergence: reverse_kl, beta: 0.3}",
            "7: `objective.beta` has no meaning for reverse_kl, only for jensen_shannon and "
            "alpha_beta; remove it",
        ),
        (
            "  more: {kind: rnn, objective: {divergence: total_variation}}",
            "6: `students.more.objective.divergence`: sampled targets cannot serve total_variation "
            "exactly or without "
            "bias; choose targets of kind hidden or live, or forward_kl",
        ),
        (
            "  more: {kind: pruned, layers: 2, hidden_weight: 0.5}",
            "6: `students.more.hidden_weight`: sampled targets hold no hidden states; choose "
            "targets of kind hidden or "
            "live",
        ),
    ],
)
def test_objectives_that_the_targets_cannot_serve(tmp_path: Path, more: str, expected: str) -> None:
    assert problems(tmp_path, MINIMAL + more + "\n") == [expected]


def test_formats_for_students_that_classify(tmp_path: Path) -> None:
    text = MINIMAL + "export: [transformers, onnx]\n"
    assert problems(tmp_path, text)[0].endswith(
        ": `export.1`: onnx is for students of the task classification; this one is causal_lm: "
        "leave it out"
    )


def test_what_is_not_served_is_said_beside_other_problems(tmp_path: Path) -> None:
    found = problems(
        tmp_path, MINIMAL.replace("layers: 10", "layers: ten"), "objective.divergence=reverse_kl"
    )
    assert [problem.partition(";")[0] for problem in found] == [
        "--set objective.divergence: `objective.divergence`: sampled targets cannot serve "
        "reverse_kl exactly or without bias",
        "5: `students.half.layers` is 'ten'",
    ]


def test_a_common_objective_that_no_student_uses_is_not_held_against_the_targets(
    tmp_path: Path,
) -> None:
    text = MINIMAL.replace("layers: 10", "layers: 10, objective: {divergence: forward_kl}")
    recipe = load(
        tmp_path, text + "objective: {divergence: jensen_shannon, beta: 0.3, soft_weight: 0.5}\n"
    )
    own = recipe.objective_for("half")
    assert (own.divergence, own.beta, own.soft_weight) == ("forward_kl", None, 0.5)


def test_student_keys_over_the_common_ones(tmp_path: Path) -> None:
    text = MINIMAL + (
        "  a: {kind: rnn, train: {learning_rate: 2e-3}}\n"
        "  b: {kind: rnn, train: {epochs: 1}}\n"
        "  c: {kind: rnn, train: {token_budget: 7}}\n"
        "train: {token_budget: 100, seed: 5, clip_norm: 2}\n"
    )
    recipe = load(tmp_path, text)
    assert recipe.train_for("half") is recipe.train
    assert [recipe.train_for(name).token_budget for name in "abc"] == [100, None, 7]
    assert [recipe.train_for(name).learning_rate for name in "abc"] == [2e-3, 1e-3, 1e-3]
    assert {(recipe.train_for(name).seed, recipe.train_for(name).clip_norm) for name in "abc"} == {
        (5, 2.0)
    }
    assert type(recipe.train_for("a")) is type(recipe.train)
    epochs = load(tmp_path, text.replace("token_budget: 100", "epochs: 4"))
    assert [epochs.train_for(name).epochs for name in "abc"] == [4, 1, 1]


@pytest.mark.parametrize("kind", ["sampled", "top_k"])
def test_fewer_tokens_need_whole_distributions(tmp_path: Path, kind: str) -> None:
    student = "{kind: pruned, vocabulary: corpus}"
    text = MINIMAL.replace("{kind: pruned, layers: 10}", student) + f"targets: {{kind: {kind}}}\n"
    (problem,) = problems(tmp_path, text)
    assert re.match(
        rf"5: `students.half.vocabulary`: {kind} targets cannot .* without bias.*; choose targets "
        rf"of kind hidden or "
        "live, or vocabulary: full",
        problem,
    )
    for served in ("hidden", "live"):
        student_of = load(tmp_path, text.replace(kind, served)).students["half"]
        assert student_of.spec().trims_vocabulary


def test_recurrent_students_take_no_adapters(tmp_path: Path) -> None:
    text = MINIMAL.replace("{kind: pruned, layers: 10}", "{kind: rnn, lora: {rank: 4}}")
    (problem,) = problems(tmp_path, text)
    assert "lora is given, but recurrent cells take no adapters; remove it" in problem
