"""A student with the tokens of its documents only, from recipe to numbers, and what the numbers are
about."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.recipes.language_job import KNOWN, UNSEEN, texts, tiny_teacher
from transformers import AutoModelForCausalLM, AutoTokenizer

from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run as run_recipe
from tutelage.students import save_model
from tutelage.tasks.language.data import prepare_language_data, teacher_tokenizer
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.training import load_judged_student

RECIPE = """\
name: tiny
task: {{kind: causal_lm, sequence_length: 64}}
data: {{train: train.jsonl, validation: validation.jsonl, test: test.jsonl}}
teacher: {{kind: causal_lm, model: {model}}}
targets: {{kind: hidden}}
students:
  cut: {{kind: pruned, layers: 1, vocabulary: corpus, hidden_weight: 0.1}}
  half: {{kind: pruned, layers: 1}}
objective: {{soft_weight: 1.0}}
train: {{epochs: 4, batch_tokens: 256, micro_batch_tokens: 128, learning_rate: 5e-3}}
evaluate: {{control: true, bootstrap_samples: 100, generation_prompts: 3, generation_tokens: 4}}
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe whose test documents alone use some words, and a teacher with tokens for them."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("job")
    model, tokenizer = tiny_teacher(texts(KNOWN + UNSEEN, 300, seed=9))
    save_model(model, tokenizer, folder / "teacher")
    parts = {
        "train": texts(KNOWN, 40, 0),
        "validation": texts(KNOWN, 8, 1),
        "test": texts(KNOWN + UNSEEN, 12, 2),
    }
    for name, rows in parts.items():
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps({"text": row}) + "\n" for row in rows), "utf-8"
        )
    (folder / "recipe.yaml").write_text(RECIPE.format(model=folder / "teacher"), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def finished(job: Path) -> Path:
    recipe = load_recipe(job / "recipe.yaml")
    assert isinstance(recipe, LanguageRecipe)

    def peak_memory_bytes(folder: Path, prompt: Any, _: torch.dtype) -> int:
        """In place of a process that reads the prompt: whether it could."""
        return int(
            max(prompt) < json.loads((folder / "config.json").read_text("utf-8"))["vocab_size"]
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tutelage.evaluate.tokens.cost.peak_memory_bytes", peak_memory_bytes)
        return run_recipe(recipe, root=job / "runs", until="evaluate").folder.path


@pytest.fixture(scope="module")
def evaluation(finished: Path) -> Any:
    return json.loads((finished / "evaluation.json").read_text("utf-8"))


def test_it_is_smaller_and_judged_on_the_same_tokens(evaluation: Any, job: Path) -> None:
    cut, half = evaluation["students"]["cut"], evaluation["students"]["half"]
    assert cut["parameters"]["value"] < half["parameters"]["value"]
    assert cut["memory_bytes"]["value"] == 1
    assert 0 < cut["kept_mass"]["value"] < 1
    assert "kept_mass" not in half
    for metric in ("nats_per_token", "bits_per_byte", "kl", "acceptance"):
        assert 0 < cut[metric]["value"] < 50, metric
    # Both measure all tokens of all documents, so one is the other in another unit.
    ratio = cut["nats_per_token"]["value"] / cut["bits_per_byte"]["value"]
    assert ratio == pytest.approx(half["nats_per_token"]["value"] / half["bits_per_byte"]["value"])
    compared = [
        row
        for row in evaluation["comparisons"]
        if row["student"] == "cut" and row["metric"] == "kl"
    ]
    assert [row["against"] for row in compared] == [
        "control"
    ]  # `half` is held against another distribution
    assert cut["kl"]["value"] < evaluation["controls"]["cut"]["kl"]["value"]
    shown = evaluation["distributions"]
    assert all(len(row["models"]["students.cut"]) == len(row["tokens"]) for row in shown)
    tokenizer = AutoTokenizer.from_pretrained(str(job / "teacher"))
    lengths = [len(tokenizer(sample["prompt"])["input_ids"]) for sample in evaluation["samples"]]
    assert len(lengths) > len(set(lengths))  # some are written together, by those that can
    assert set(evaluation["samples"][0]["continuations"]) >= {
        "teacher",
        "students.cut",
        "controls.cut",
    }


def test_the_numbers_are_those_of_the_spelled_text(
    job: Path, finished: Path, evaluation: Any
) -> None:
    """Nats per token by hand: the student reads its own pieces, all nats of a document over the
    teacher's tokens."""
    recipe = load_recipe(job / "recipe.yaml")
    assert isinstance(recipe, LanguageRecipe)
    teacher = teacher_tokenizer(recipe)
    data = prepare_language_data(recipe, teacher)
    folder = finished / "students" / "cut"
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ours, nats, positions, spelled = tokenizer.get_vocab(), 0.0, 0, 0
    for document in data.test:
        ids: list[int] = []
        for token in teacher.convert_ids_to_tokens(document.token_ids.tolist()):
            pieces = (
                [ours[token]]
                if token in ours
                else [piece.id for piece in tokenizer.backend_tokenizer.model.tokenize(token)]
            )
            spelled += len(pieces) > 1
            ids += pieces
        assert tokenizer.decode(ids) == teacher.decode(document.token_ids)
        with torch.inference_mode():
            logprobs = torch.log_softmax(
                model(input_ids=torch.tensor([ids])).logits[0].double(), dim=-1
            )
        nats -= float(logprobs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum())
        positions += document.positions
    assert spelled > 3  # or nothing of this was tried
    assert evaluation["students"]["cut"]["nats_per_token"]["value"] == pytest.approx(
        nats / positions, rel=1e-5
    )


def test_the_folder_needs_nothing_of_ours(finished: Path) -> None:
    code = f"""
import sys
from tests.recipes.language_job import KNOWN, UNSEEN, texts, tiny_teacher
from transformers import AutoModelForCausalLM, AutoTokenizer
for name in ("cut", "half"):
    folder = {str(finished / "students")!r} + "/" + name
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size == model.get_output_embeddings().weight.shape[0]
    assert name == "half" or model.config.vocab_size == len(tokenizer)
    prompt = tokenizer("the wonderful film \\u00e9", return_tensors="pt")
    assert tokenizer.decode(prompt["input_ids"][0]) == "the wonderful film \\u00e9"
    written = model.generate(**prompt, max_new_tokens=5, do_sample=False)
    assert written.shape[1] > prompt["input_ids"].shape[1]
    print(tokenizer.decode(written[0]).startswith("the wonderful film \\u00e9"))
assert not [name for name in sys.modules if name.startswith("tutelage")]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True"]


def test_generation_speaks_the_teachers_ids(job: Path, finished: Path) -> None:
    recipe = load_recipe(job / "recipe.yaml")
    assert isinstance(recipe, LanguageRecipe)
    teacher = teacher_tokenizer(recipe)

    class Teacher:
        tokenizer = teacher
        vocabulary = len(teacher)
        device = torch.device("cpu")

    view = load_judged_student(recipe, "cut", finished / "students", Teacher())  # type: ignore[arg-type]
    text = "the wonderful film"
    ids = teacher(text, return_tensors="pt")["input_ids"]
    assert not view.vocabulary.has_all(ids[0].numpy())
    written = view.eval().generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=6,
        do_sample=False,
        pad_token_id=0,
    )
    assert torch.equal(written[:, : ids.shape[1]], ids)
    own = AutoTokenizer.from_pretrained(finished / "students" / "cut")
    spelled = torch.from_numpy(view.vocabulary.spell(ids[0].numpy()).ids)[None]
    expected = view.model.generate(
        input_ids=spelled,
        attention_mask=torch.ones_like(spelled),
        max_new_tokens=6,
        do_sample=False,
        pad_token_id=0,
    )
    assert teacher.decode(written[0]) == own.decode(expected[0])
    assert written.shape[1] > ids.shape[1]
    answer = view(input_ids=ids, use_cache=True, logits_to_keep=1)
    assert answer.logits.shape == (1, 1, len(teacher))
    assert int(answer.logits.argmax()) == int(written[0, ids.shape[1]])
    with pytest.raises(
        ValueError, match="2 rows given; a trimmed student spells one row at a time"
    ):
        view(input_ids=ids.expand(2, -1))
