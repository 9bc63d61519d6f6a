"""A dumped recipe, loaded again, is the same recipe."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tutelage.config import dump_recipe
from tutelage.recipes.loading import load_recipe
from tutelage.tasks.classification.recipe import Recipe
from tutelage.tasks.classification.template import TEMPLATE

characters = st.characters(exclude_categories=("Cs",))
words = st.text(characters, min_size=1, max_size=8)
awkward = st.sampled_from(
    [
        "no",
        "null",
        "~",
        "1e-4",
        "2_000",
        "true",
        "a: b",
        "- x",
        "#x",
        "é\u2028x",
        "'",
        '"',
        "*a",
        "\\",
        "[",
        "x:",
    ]
)
labels = st.lists(
    st.one_of(words, awkward).map(str.strip).filter(bool), min_size=2, max_size=4, unique=True
)
positive = st.floats(min_value=1e-12, max_value=1e12, allow_nan=False)
schedule = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(1, 10**9),
        "learning_rate": positive,
        "patience": st.none() | st.integers(1, 9),
    },
)


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(labels)
    teacher = draw(
        st.one_of(
            st.fixed_dictionaries(
                {"kind": st.just("prompted"), "model": st.just("owner/name")},
                optional={
                    "template": words.map(lambda word: word + "{text}\n"),
                    "instruction": words,
                    "chat": st.sampled_from(["auto", True, False]),
                    "verbalizers": st.just(
                        {
                            name: [f"{position} word", f"w{position}"]
                            for position, name in enumerate(names)
                        }
                    ),
                },
            ),
            st.fixed_dictionaries(
                {"kind": st.just("classifier"), "model": st.just("package:x")},
                optional={
                    "fit": st.sampled_from(
                        [
                            {"method": "none"},
                            {"method": "lora", "rank": 3},
                            {"method": "head", "layers": [1, -1], "pooling": ["last"]},
                        ]
                    )
                },
            ),
        )
    )
    objective = st.sampled_from(
        [{}, {"soft_weight": 0.9}, {"divergence": "alpha_beta", "beta": 0.2}, {"alpha": None}]
    )
    student = st.one_of(
        st.fixed_dictionaries(
            {"kind": st.just("rnn")},
            optional={"train": schedule, "objective": objective},
        ),
        st.fixed_dictionaries(
            {"kind": st.just("transformer")}, optional={"tokenizer": st.just({"kind": "bpe"})}
        ),
    )
    return {
        "name": draw(st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)),
        "task": {"kind": "classification", "labels": names},
        "data": {
            "train": "a.csv",
            "test": draw(st.sampled_from(["sub/t.parquet", 0.25])),
            "text_field": draw(words),
            "unlabeled": draw(st.sampled_from([[], "x.tsv", ["x.tsv", "y y.jsonl"]])),
        },
        "teacher": teacher,
        "students": draw(
            st.dictionaries(
                st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True),
                student,
                min_size=1,
                max_size=3,
            )
        ),
        "objective": draw(objective),
        "train": draw(schedule),
    }


@settings(max_examples=60, deadline=None)
@given(values=recipes())
def test_round_trip(values: dict[str, Any]) -> None:
    recipe = Recipe.model_validate(values, context={"folder": Path("/data")})
    text = dump_recipe(recipe)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "elsewhere.yaml"
        path.write_text(text, encoding="utf-8", newline="")
        again = load_recipe(path)
    assert again == recipe
    assert dump_recipe(again) == text
    for name in recipe.students:
        assert again.train_for(name) == recipe.train_for(name)
        assert again.objective_for(name) == recipe.objective_for(name)
    assert list(again.students) == list(recipe.students)


def test_dump_is_resolved_and_keeps_the_order_of_the_flow(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(TEMPLATE)
    text = dump_recipe(load_recipe(path))
    sections = [line.partition(":")[0] for line in text.splitlines() if not line.startswith(" ")]
    assert sections == [
        "name",
        "task",
        "data",
        "teacher",
        "targets",
        "students",
        "objective",
        "train",
        "evaluate",
        "export",
    ]
    assert "  weight_decay: 0.01\n" in text
    assert (
        f"  train: {tmp_path}/train.csv\n" in text or f'  train: "{tmp_path}/train.csv"\n' in text
    )


def test_own_keys_of_a_student_stay_few(tmp_path: Path) -> None:
    # Written out in full, they would hide every later change of the common `train` section.
    path = tmp_path / "recipe.yaml"
    path.write_text(TEMPLATE)
    (tmp_path / "again.yaml").write_text(dump_recipe(load_recipe(path)))
    again = load_recipe(tmp_path / "again.yaml", overrides=["train.epochs=2"])
    assert again.train_for("gru").epochs == 2
    assert again.train_for("gru").learning_rate == 2e-3
