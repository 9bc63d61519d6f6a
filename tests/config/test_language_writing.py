"""A dumped causal_lm recipe, loaded again, is the same recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.config import dump_recipe
from tutelage.recipes.loading import load_recipe
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.tasks.language.sections import TopKTargetsSpec

names = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
positive = st.floats(min_value=1e-9, max_value=1e9, allow_nan=False)
own = st.fixed_dictionaries(
    {},
    optional={
        "train": st.fixed_dictionaries(
            {}, optional={"learning_rate": positive, "schedule": st.just("wsd")}
        ),
        "objective": st.just({"soft_weight": 0.5}),
        "lora": st.sampled_from([{}, {"rank": 4, "alpha": 8.0}]),
    },
)
kinds = st.sampled_from(
    [
        {"kind": "pruned", "layers": 2},
        {"kind": "pruned", "hidden_size": 64, "choice": "influence"},
        {"kind": "transformer", "heads": 6, "kv_heads": 2, "embeddings": "teacher"},
        {"kind": "rnn", "cell": "lstm", "embedding_size": 8},
        {"kind": "pretrained", "model": "owner/name"},
    ]
)


def together(pair: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    """A student of a kind with keys of its own, but for adapters where the kind takes none."""
    kind, own = pair
    return {
        **kind,
        **{key: value for key, value in own.items() if key != "lora" or kind["kind"] != "rnn"},
    }


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    columns = st.sampled_from(
        [{}, {"prompt_field": "q", "response_field": "a"}, {"messages_field": "m"}]
    )
    targets = st.sampled_from(
        [
            {"kind": "hidden"},
            {"kind": "sampled"},
            {"kind": "sampled", "budget": 3},
            {"kind": "live"},
        ]
    )
    objective = st.sampled_from([{}, {"soft_weight_final": 0.1}])
    students = st.dictionaries(names, st.tuples(kinds, own).map(together), min_size=1)
    return {
        "name": draw(names),
        "task": {"kind": "causal_lm", "long_documents": draw(st.sampled_from(["refuse", "split"]))},
        "data": {
            "train": "a.parquet",
            "test": draw(st.sampled_from(["sub/t.csv", 0.25])),
            **draw(columns),
        },
        "teacher": {"kind": "causal_lm", "model": "package:x"},
        "targets": draw(targets),
        "students": draw(students),
        "objective": draw(objective),
        "train": draw(st.sampled_from([{}, {"epochs": 3}, {"token_budget": 10**6}])),
    }


@settings(max_examples=30, deadline=None)
@given(values=recipes())
def test_round_trip(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    recipe = LanguageRecipe.model_validate(values, context={"folder": Path("/data")})
    text = dump_recipe(recipe)
    path = tmp_path_factory.getbasetemp() / "elsewhere.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    again = load_recipe(path)
    assert again == recipe
    assert dump_recipe(again) == text
    assert isinstance(again, LanguageRecipe)
    for name in recipe.students:
        assert again.train_for(name) == recipe.train_for(name)
        assert again.objective_for(name) == recipe.objective_for(name)


def test_the_settings_of_another_kind_of_targets_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "answers.yaml"
    path.write_text(
        "task: {kind: causal_lm}\ndata: {train: train.jsonl, test: 0.1}\nteacher: {kind: "
        "causal_lm, model: m}\n"
        "students: {half: {kind: pruned, layers: 10}}\ntargets: {kind: top_k, k: 7}\n"
        "objective: {divergence: reverse_kl}\n"
    )
    recipe = load_recipe(path)
    path.write_text(dump_recipe(recipe))
    assert load_recipe(path) == recipe
    assert recipe.targets == TopKTargetsSpec(kind="top_k", k=7)
