"""A teacher that writes, from recipe to report: answers kept, filtered, learned as text."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.journeys.tiny_language_job import in_float32, write_language_job, write_teacher
from tests.teachers.api.faulty_server import FaultyServer, serving

from tutelage.errors import BudgetSpent, RecipeError
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import Outcome, run
from tutelage.targets.text import read_answers
from tutelage.tasks import task_named
from tutelage.types import SILENT, Silent

TEXT = "{kind: text, per_prompt: 2, sampling_temperature: 1.0, max_new_tokens: 24}"
FRESH = "fresh: {kind: transformer, layers: 1, hidden_size: 16, heads: 2}"


@pytest.fixture(autouse=True)
def memory_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes a process for each model, and seconds."""
    monkeypatch.setattr("tutelage.evaluate.tokens.cost.peak_memory_bytes", lambda *_: None)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random teacher that ends its answers after a few tokens."""
    from transformers import AutoModelForCausalLM

    folder = write_teacher(tmp_path_factory.mktemp("weights"))
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        ids = torch.randint(3, 300, (8, 24), generator=torch.Generator().manual_seed(0))
        states = model.model(input_ids=ids).last_hidden_state.flatten(0, 1)
        direction = states.mean(0) / states.mean(0).norm()
        model.lm_head.weight[2] = 8.0 * direction / float((states @ direction).mean())
    model.save_pretrained(folder)
    return folder


def job(folder: Path, weights: Path, **more: Any) -> Path:
    more = {"targets": TEXT, "form": "pairs", "objective": "{}", "count": 12, **more}
    return write_language_job(folder, weights, **more)


def evaluation_of(outcome: Outcome) -> dict[str, Any]:
    return json.loads(outcome.folder.evaluation_path.read_text("utf-8"))


def test_students_learn_what_the_teacher_wrote(tmp_path: Path, weights: Path) -> None:
    path = job(tmp_path, weights)
    outcome = run(load_recipe(path), root=tmp_path / "runs")
    answers = read_answers(outcome.folder.targets_path)
    kept = [one for one in answers if one.left_out is None]
    assert len(answers) == 2 * 12 + 8 + 12
    assert 15 < len(kept) < len(answers)  # some are cut off
    assert all(one.text.strip() for one in kept)
    evaluation = evaluation_of(outcome)
    parts = evaluation["targets"]["parts"]
    assert parts["train"]["kept"] == sum(one.part == "train" for one in kept)
    assert sum(part["kept"] + sum(part["left_out"].values()) for part in parts.values()) == 44
    # Everybody is judged on the data's responses and on the teacher's answers; nobody saw either.
    student, control = evaluation["students"]["half"], evaluation["controls"]["half"]
    assert student["answer_nats"]["value"] < control["answer_nats"]["value"]
    assert control["nats_per_token"]["value"] < student["nats_per_token"]["value"]
    assert {"kl", "top1_agreement"} <= student.keys()
    assert (
        evaluation["training"]["students"]["half"]["tokens"]
        != (evaluation["training"]["controls"]["half"]["tokens"])
    )
    page = outcome.folder.report_path.read_text("utf-8")
    assert "What the teacher wrote" in page
    assert "the responses of the data" in page
    assert str(parts["train"]["kept"]) + " answers" in page
    assert "left out" in outcome.teacher_held_out["sentence"]
    again = run(load_recipe(path), root=tmp_path / "runs")
    assert {stage.how for stage in again.stages} == {"kept"}
    load_recipe(outcome.folder.path / "recipe.yaml")  # as it was written out, it is a recipe


def test_answers_outlive_the_run_that_asked_for_them(tmp_path: Path, weights: Path) -> None:
    path = in_float32(job(tmp_path, weights))  # else a text depends on those beside it
    first = run(load_recipe(path), root=tmp_path / "runs", until="label")
    before = read_answers(first.folder.targets_path)
    said: list[str] = []

    class Listening(Silent):
        def say(self, message: str) -> None:
            said.append(message)

    # Another filter asks nothing anew; a third answer to each prompt asks for that one alone.
    for change in (("24}", "24, longest: 40}"), ("per_prompt: 2", "per_prompt: 3")):
        path.write_text(path.read_text("utf-8").replace(*change), "utf-8")
        second = run(load_recipe(path), root=tmp_path / "runs", until="label", progress=Listening())
        texts = {
            (one.prompt, one.sample): one.text for one in read_answers(second.folder.targets_path)
        }
        assert {(one.prompt, one.sample): one.text for one in before}.items() <= texts.items()
    known = [one for one in said if "were written before" in one]
    assert [one.split()[0] for one in known] == ["44", "44"]
    shutil.rmtree(tmp_path / "runs")
    third = run(load_recipe(path), root=tmp_path / "runs", until="label")
    found = {(one.prompt, one.sample): one.text for one in read_answers(third.folder.targets_path)}
    assert found == texts  # the same seed writes the same


def test_prompts_need_no_responses(tmp_path: Path, weights: Path) -> None:
    path = job(tmp_path, weights)
    text = path.read_text("utf-8").replace(", response_field: answer", "")
    path.write_text(text.replace("control: true", "control: false"), "utf-8")
    for part in ("train", "validation", "test"):
        file = tmp_path / f"{part}.jsonl"
        rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        file.write_text(
            "".join(json.dumps({"question": row["question"]}) + "\n" for row in rows), "utf-8"
        )
    recipe = load_recipe(path)
    check = task_named("causal_lm").check(recipe, root=tmp_path, progress=SILENT)
    assert [one for one in check.problems if one.severity == "error"] == []
    assert "44 answers are asked for" in check.summary
    evaluation = evaluation_of(run(recipe, root=tmp_path / "runs"))
    # The teacher's own answers are the test then, and not a second one besides.
    assert evaluation["documents"] == evaluation["targets"]["parts"]["test"]["kept"]
    assert "answer_nats" not in evaluation["students"]["half"]


def test_conversations_are_answered(tmp_path: Path, weights: Path) -> None:
    path = job(tmp_path / "here", weights, form="messages", count=24)
    outcome = run(load_recipe(path), root=tmp_path / "runs")
    answers = read_answers(outcome.folder.targets_path)
    assert [one["role"] for one in answers[0].messages] == ["user", "assistant", "tool"]
    assert answers[0].prompt.startswith("user: is this zq")
    evaluation = evaluation_of(outcome)
    student, control = evaluation["students"]["half"], evaluation["controls"]["half"]
    assert student["answer_nats"]["value"] < control["answer_nats"]["value"]
    assert control["nats_per_token"]["value"] < student["nats_per_token"]["value"]
    again = run(load_recipe(path), root=tmp_path / "runs")
    assert {stage.how for stage in again.stages} == {"kept"}
    asked: list[Any] = []

    def listening(body: dict[str, Any]) -> dict[str, Any]:
        asked.append(body["messages"])
        return {
            **reply(body),
            "choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}],
        }

    with serving(FaultyServer(reply=listening)) as server:
        path = api_job(tmp_path / "there", weights, server, form="messages")
        outcome = run(load_recipe(path), root=tmp_path / "runs", until="label")
    assert len(asked) == 44
    told = {json.dumps(list(one.messages)) for one in read_answers(outcome.folder.targets_path)}
    assert {json.dumps(one) for one in asked} == told
    text = path.read_text("utf-8").replace("max_new_tokens", "system: Be brief, max_new_tokens")
    path.write_text(text, "utf-8")
    file = tmp_path / "there" / "train.jsonl"
    rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
    rows[3]["messages"].insert(0, {"role": "system", "content": "Be long"})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    check = task_named("causal_lm").check(load_recipe(path), root=tmp_path, progress=SILENT)
    (problem,) = [one for one in check.problems if one.severity == "error"]
    assert "1 conversations have a message of the system" in str(problem)
    assert "train.jsonl, row 4" in str(problem)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"objective": "{soft_weight: 0.5}"}, "objective.soft_weight`: text targets are learned"),
        ({"objective": "{divergence: reverse_kl}"}, "objective.divergence`: text targets are"),
        ({"students": "a: {kind: pruned, layers: 1, hidden_weight: 1}"}, "hold no hidden states"),
        ({"students": "a: {kind: pruned, vocabulary: corpus}"}, "is not known before it has"),
        ({"form": "text"}, "the teacher answers prompts: name their column, data.prompt_field"),
        ({"targets": "{kind: text, per_prompt: 2, sampling_temperature: 0}"}, "all be the same"),
        ({"targets": "{kind: text, shortest: 9, longest: 5}"}, "no answer would be kept"),
    ],
)
def test_what_has_no_meaning_is_refused(
    change: dict[str, str], expected: str, tmp_path: Path, weights: Path
) -> None:
    with pytest.raises(RecipeError, match=expected):
        load_recipe(job(tmp_path, weights, **change))


def reply(body: dict[str, Any]) -> dict[str, Any]:
    """What the server writes: an answer to each prompt and seed; some are no answers."""
    prompt = body["messages"][-1]["content"]
    number = sum(prompt.encode())
    message: dict[str, Any] = {"content": f"it is {prompt[14:30]} {body['seed']}"}
    finish = "stop"
    if number % 5 == 0:
        finish = "length"
    elif number % 7 == 0:
        message = {"content": None, "refusal": "I would rather not"}
    elif number % 11 == 0:
        message = {"content": "  "}
    return {
        "model": "served-1",
        "choices": [{"message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 10},
    }


def api_job(folder: Path, weights: Path, server: FaultyServer, **more: str) -> Path:
    path = job(folder, weights, students=FRESH, form=more.get("form", "pairs"))
    teacher = (
        f"teacher: {{kind: api, model: served-1, base_url: '{server.base_url}', "
        f"tokenizer_of: teacher, retries: 8{more.get('teacher', '')}}}"
    )
    text = path.read_text("utf-8").replace("teacher: {kind: causal_lm, model: teacher}", teacher)
    path.write_text(text, "utf-8")
    return path


def test_a_teacher_behind_an_api_writes(tmp_path: Path, weights: Path) -> None:
    with serving(
        FaultyServer(reply=reply, fault=lambda n, _: 500 if n % 4 == 0 else None)
    ) as server:
        path = api_job(tmp_path, weights, server, teacher=", price: {input: 1, output: 2}")
        recipe = load_recipe(path)
        check = task_named("causal_lm").check(recipe, root=tmp_path, progress=SILENT)
        assert [one for one in check.problems if one.severity == "error"] == []
        assert "44 requests" in check.summary
        outcome = run(recipe, root=tmp_path / "runs")
        assert max(server.paid.values()) == 1
        assert server.paid.total() == 44
        answers = read_answers(outcome.folder.targets_path)
        reasons = {one.left_out for one in answers}
        assert {"cut off at max_new_tokens", "declined by the teacher", None} <= reasons
        evaluation = evaluation_of(outcome)
        student, control = evaluation["students"]["fresh"], evaluation["controls"]["fresh"]
        assert evaluation["teacher"] == {}
        assert student["answer_nats"]["value"] < control["answer_nats"]["value"]
        assert "kl" not in student
        assert {row["against"] for row in evaluation["comparisons"]} == {"control"}
        page = outcome.folder.report_path.read_text("utf-8")
        assert "tells no probabilities" in page
        assert "own server" in page
        assert "44" in page
        assert "it is " in page
        again = run(load_recipe(path), root=tmp_path / "runs")
        assert {stage.how for stage in again.stages} == {"kept"}
        assert server.paid.total() == 44


def verdict(body: dict[str, Any]) -> dict[str, Any]:
    """What a judge says: it accepts most answers, and declines some."""
    asked = body["messages"][-1]["content"]
    number = sum(asked.partition("Prompt: ")[2].encode())
    yes = 0.4 if number % 4 == 0 else 0.9
    listed = [
        {"token": "yes", "logprob": math.log(yes)},
        {"token": "no", "logprob": math.log(1 - yes)},
    ]
    choice: dict[str, Any] = {
        "message": {"content": "yes"},
        "logprobs": {"content": [{**listed[0], "top_logprobs": listed}]},
        "finish_reason": "stop",
    }
    if number % 6 == 1:
        choice = {"message": {"content": None, "refusal": "no"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 50, "completion_tokens": 1}
    return {"model": "judge-1", "choices": [choice], "usage": usage}


def with_judge(path: Path, judge: str) -> Path:
    text = path.read_text("utf-8")
    path.write_text(text.replace("{kind: text,", f"{{kind: text, judge: {judge},"), "utf-8")
    return path


def test_a_judge_behind_an_api_leaves_answers_out(tmp_path: Path, weights: Path) -> None:
    with serving(FaultyServer(reply=verdict)) as server:
        teacher = (
            f"{{kind: api, protocol: chat, model: judge-1, base_url: '{server.base_url}', "
            "bad_answer_retries: 0, price: {input: 10, output: 20}}"
        )
        path = with_judge(job(tmp_path, weights), f"{{teacher: {teacher}}}")
        recipe = load_recipe(path)
        check = task_named("causal_lm").check(recipe, root=tmp_path, progress=SILENT)
        assert [one for one in check.problems if one.severity == "error"] == []
        assert "judge     44 requests" in check.summary
        outcome = run(recipe, root=tmp_path / "runs")
        answers = read_answers(outcome.folder.targets_path)
        judged = [one for one in answers if one.accepted is not None]
        assert {one.left_out for one in judged if one.accepted < 0.5} == {
            "not accepted by the judge"
        }
        assert {one.left_out for one in judged if one.accepted >= 0.5} == {None}
        assert "not judged: refused" in {one.left_out for one in answers}
        assert "cut off at max_new_tokens" in {one.left_out for one in answers}
        told = json.loads(outcome.folder.provenance_path.read_text("utf-8"))["answers"]["judge"]
        assert told["requests"] == server.paid.total() == told["judged"]
        page = outcome.folder.report_path.read_text("utf-8")
        assert "judge-1 behind an API (chat); kept are answers" in page
        assert "not accepted by the judge" in page
        assert "Asked of the judge" in page
        load_recipe(outcome.folder.path / "recipe.yaml")  # as it was written out, it is a recipe
        # Another threshold, another price: nothing is asked again.
        text = path.read_text("utf-8")
        path.write_text(text.replace("input: 10", "input: 11"), "utf-8")
        again = run(load_recipe(path), root=tmp_path / "runs", until="label")
        assert again.stages[-1].how != "done"
        path.write_text(text.replace("judge: {", "judge: {threshold: 0.3, "), "utf-8")
        more = run(load_recipe(path), root=tmp_path / "runs", until="label")
        assert server.paid.total() == told["requests"]
        found = read_answers(more.folder.targets_path)
        assert not any(one.left_out == "not accepted by the judge" for one in found)
        # A budget that is spent leaves the rest without a verdict; what judges was asked first.
        path.write_text(
            text.replace("retries: 0", "retries: 0, budget: {requests: 18, then: train}")
        )
        spent = run(load_recipe(path), root=tmp_path / "others", until="label")
        found = read_answers(spent.folder.targets_path)
        over = {one.part for one in found if one.left_out == "not judged: over budget"}
        assert over == {"train"}
        path.write_text(path.read_text("utf-8").replace("18, then: train", "19"))
        with pytest.raises(BudgetSpent, match="raise budget"):
            run(load_recipe(path), root=tmp_path / "others", until="label")


def test_a_judge_in_memory_leaves_answers_out(tmp_path: Path, weights: Path) -> None:
    judge = "{teacher: {kind: prompted, model: teacher}, threshold: %s}"
    path = with_judge(job(tmp_path, weights), judge % "0.001")
    outcome = run(load_recipe(path), root=tmp_path / "runs", until="label")
    first = [one for one in read_answers(outcome.folder.targets_path) if one.accepted is not None]
    assert len(first) > 15
    middle = sorted(one.accepted or 0.0 for one in first)[len(first) // 2]
    text = path.read_text("utf-8").replace("threshold: 0.001", f"threshold: {middle}")
    path.write_text(text, "utf-8")
    (store,) = (tmp_path / "runs" / "answers").glob("judged-*")
    before = {file: file.stat().st_mtime_ns for file in store.glob("*.safetensors")}
    outcome = run(load_recipe(path), root=tmp_path / "runs", until="label")
    answers = read_answers(outcome.folder.targets_path)
    again = [one for one in answers if one.accepted is not None]
    assert [one.accepted for one in again] == [one.accepted for one in first]
    left = [one for one in again if one.left_out is not None]
    assert 0 < len(left) < len(again)
    assert all((one.left_out is None) == ((one.accepted or 0.0) >= middle) for one in again)
    assert before == {file: file.stat().st_mtime_ns for file in store.glob("*.safetensors")}


def test_filters_that_cannot_work_are_told_before_anything_is_asked(
    tmp_path: Path, weights: Path
) -> None:
    judge = "{kind: prompted, model: %s}"
    for teacher, expected in (
        (judge % "teacher, calibration: batch", "a judge has none: choose none or contextual"),
        ("{kind: causal_lm, model: teacher}", "targets.judge.teacher"),
    ):
        path = with_judge(job(tmp_path, weights), f"{{teacher: {teacher}}}")
        with pytest.raises(RecipeError, match=expected):
            load_recipe(path)
    for filters, expected in (
        (f"judge: {{teacher: {judge % 'nowhere'}}}", "targets.judge.teacher.model"),
        (f"judge: {{teacher: {judge % 'teacher, shots: 2'}}}", "targets.judge.teacher.shots"),
        ("languages: [english]", "targets.languages"),
    ):
        path = job(tmp_path, weights)
        text = path.read_text("utf-8").replace("{kind: text,", f"{{kind: text, {filters},")
        path.write_text(text, "utf-8")
        check = task_named("causal_lm").check(load_recipe(path), root=tmp_path, progress=SILENT)
        assert [one.where for one in check.problems if one.severity == "error"] == [expected]


def test_a_budget_ends_and_goes_on(tmp_path: Path, weights: Path) -> None:
    with serving(FaultyServer(reply=reply)) as server:
        path = api_job(tmp_path, weights, server, teacher=", budget: {requests: 30}")
        with pytest.raises(BudgetSpent, match="raise budget"):
            run(load_recipe(path), root=tmp_path / "runs", until="label")
        assert server.paid.total() == 30
        path.write_text(path.read_text("utf-8").replace("30}", "32, then: train}"), "utf-8")
        outcome = run(load_recipe(path), root=tmp_path / "runs", until="label")
        assert server.paid.total() == 32
        left = [one.left_out for one in read_answers(outcome.folder.targets_path)]
        assert left.count("not asked: the budget was spent") == 12
        path.write_text(
            path.read_text("utf-8").replace(", budget: {requests: 32, then: train}", "")
        )
        run(load_recipe(path), root=tmp_path / "runs", until="label")
        assert server.paid.total() == 44
        assert max(server.paid.values()) == 1


def test_what_a_teacher_behind_an_api_cannot_give_is_refused(tmp_path: Path, weights: Path) -> None:
    server = FaultyServer()
    path = api_job(tmp_path, weights, server)
    text = path.read_text("utf-8")
    for change, expected in (
        ((TEXT, "{kind: sampled}"), "let the teacher write"),
        ((FRESH, "half: {kind: pruned, layers: 1}"), "be cut from it; take a student"),
        (("heads: 2}", "heads: 2, embeddings: teacher}"), "set embeddings: random"),
        (("control: true", "prefer: {keep: 0.9}"), "remove it"),
    ):
        assert change[0] in text
        path.write_text(text.replace(*change), "utf-8")
        with pytest.raises(RecipeError, match=expected):
            load_recipe(path)


def test_the_recipes_of_the_page_load(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "language-text.md").read_text("utf-8")
    recipes = [block.partition("```")[0] for block in page.split("```yaml\n")[1:]]
    assert len(recipes) == 3
    targets = (
        recipes[0].partition("targets:")[0]
        + recipes.pop()
        + "students: {a: {kind: pruned, layers: 2}}\n"
    )
    for text in (*recipes, targets):
        (tmp_path / "recipe.yaml").write_text(text, "utf-8")
        assert load_recipe(tmp_path / "recipe.yaml").targets.kind == "text"
