"""Hostile recipes, and hostile `--set`: whatever they say, `check` answers in words of its own.

Inputs begin as complete recipes of both tasks, every key spelled out; then a few of their values,
keys or lines become something hostile. Raw garbage stands beside them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hostile.asking import answer, hostile
from tests.journeys.tiny_job import sentences as made_up
from tests.journeys.tiny_job import write_csv
from tests.journeys.tiny_language_job import write_teacher

LABELS = ["negative", "neutral", "positive"]
CLASSES: dict[str, Any] = {
    "name": "tiny",
    "task": {"kind": "classification", "labels": LABELS},
    "data": {
        "train": "train.csv", "validation": "validation.csv", "test": "test.csv", "unlabeled": [],
        "text_field": "text", "label_field": "label", "group_field": None,
        "augment": {"copies": 1, "word_mask": 0.1, "ngram": 0.25, "ngram_min": 1, "ngram_max": 5},
    },
    "teacher": {
        "kind": "classifier", "model": "teacher", "dtype": "auto", "trust_remote_code": False,
        "batch_tokens": 4096, "max_length": 128, "seed": 0,
        "fit": {"method": "head", "layers": None, "pooling": ["mean", "last"], "cross_fit": 2},
    },
    "targets": {"kind": "class_probabilities"},
    "students": {
        "gru": {
            "kind": "rnn", "max_length": 128, "cell": "gru", "hidden_size": 16, "layers": 1,
            "embedding_size": 16, "bidirectional": True, "dropout": 0.3, "embeddings": "teacher",
            "tokenizer": {"kind": "wordpiece", "vocabulary_size": 300, "lowercase": True},
            "train": {"epochs": 2}, "objective": {"soft_weight": 0.5},
        },
        "small": {"kind": "transformer", "layers": 1, "hidden_size": 16, "heads": 2},
        "ready": {"kind": "pretrained", "model": "teacher"},
    },
    "objective": {"divergence": "forward_kl", "loss_temperature": 1.0, "soft_weight": 0.9},
    "train": {
        "epochs": 1, "batch_size": 16, "learning_rate": 0.01, "embedding_learning_rate": None,
        "weight_decay": 0.01, "warmup_share": 0.1, "clip_norm": 1.0, "patience": None,
        "word_dropout": 0.0, "ema_decay": None, "checkpoint_every_steps": 200,
        "gradient_accumulation": 1, "seed": 0,
    },
    "evaluate": {
        "control": False, "baselines": True, "bootstrap_samples": 100, "latency_examples": 5,
    },
    "export": ["transformers"],
}  # fmt: skip
PROMPTED = CLASSES | {
    "teacher": {
        "kind": "prompted", "model": "teacher", "instruction": "Is it good?", "shots": 2,
        "verbalizers": {"negative": "bad", "neutral": ["so", "okay"], "positive": "good"},
        "template": "Text: {text}\nAnswer:", "calibration": "batch", "max_length": 128, "seed": 0,
    }
}  # fmt: skip
TOKENS: dict[str, Any] = {
    "task": {"kind": "causal_lm", "sequence_length": 96, "long_documents": "split"},
    "data": {"train": "train.csv", "validation": 0.2, "test": "test.csv", "text_field": "text"},
    "teacher": {"kind": "causal_lm", "model": "teacher", "dtype": "auto", "batch_tokens": 4096},
    "targets": {"kind": "sampled", "threshold": 0.05},
    "students": {
        "half": {"kind": "pruned", "layers": 1, "choice": "even", "lora": {"rank": 4}},
        "new": {"kind": "transformer", "layers": 1, "hidden_size": 16, "heads": 2},
        "gru": {"kind": "rnn", "cell": "gru", "hidden_size": 16, "train": {"learning_rate": 2e-3}},
    },
    "objective": {"divergence": "forward_kl", "soft_weight": 0.8},
    "train": {
        "epochs": 1, "token_budget": None, "batch_tokens": 512, "micro_batch_tokens": 256,
        "learning_rate": 1e-3, "schedule": "cosine", "seed": 0,
    },
    "evaluate": {
        "control": True, "bootstrap_samples": 100, "generation_prompts": 1, "generation_tokens": 4,
    },
    "export": ["transformers"],
}  # fmt: skip
HIDDEN = TOKENS | {
    "targets": {"kind": "hidden"},
    "students": {
        "few": {"kind": "pruned", "vocabulary": "corpus", "hidden_weight": 0.5, "layers": 1}
    },
}
TOP = TOKENS | {
    "targets": {"kind": "top_k", "k": 20},
    "data": {"train": "train.csv", "test": 0.2, "prompt_field": "text", "response_field": "label"},
}

NUMBERS = [
    "0", "-1", "1", "2", "1_000", "0x10", "0o17", "0b1", "012", "3.0", "1e3", "1e-320", "1e999",
    "-1e999", ".nan", ".inf", "-.inf", "1:30", "0.5", "1.5", "2147483647", "2147483648",
    "4294967296", str(2**53), str(2**63 - 1), str(2**63), str(2**64 - 1), str(2**64), str(10**30),
    "9" * 4300, "9" * 5000, "0x" + "f" * 5000, "-" + "9" * 400, "+", "١٢", "1e" + "9" * 20,
]  # fmt: skip
TEXTS = [
    "''", '""', "' '", "~", "null", "true", "no", "'null'", "x", "é", "'日本'", "'\U0001f9ff'",
    '"\\ud800"', '"\\udfff x"', '"\\0"', '"a\\0.csv"', '"\\x1b[31mred"', '"a\\nb"', '"\\u202e"',
    '"\\U00110000"', "x" * 300, "y" * 100_000, "'" + "z " * 5_000 + "'", "{text}", "'{text'",
    "'{text.__class__}'", "'{{x}}'", "'%s%n'", "$HOME", "`id`", "'../..'", "a/b/c",
]  # fmt: skip
PATHS = [
    "/", ".", "..", "/dev/null", "/proc/self/mem", "/root/x", "~", "~nobody-there/x", "no.csv",
    "train.csv/x.csv", "teacher", "teacher/config.json", "recipe.yaml", "folder.csv", "empty.csv",
    "'" + "a" * 300 + ".csv'", "'" + "d/" * 3_000 + "x.csv'", "'a\tb.csv'", "hub:x/y.csv",
    "https://example.org/x.csv", "package:os", "package:", "package:..", "package:json", "x.gguf",
    "owner/name", "'owner/na me'", "'-x.csv'", "'\\\\server\\share\\x.csv'", "C:/x.csv", "x.CSV",
    "dangling.csv", "'" + "n" * 252 + ".csv'", "/dev/stdin/x.csv",
]  # fmt: skip
WORDS = [
    "rnn", "transformer", "pretrained", "pruned", "classifier", "prompted", "causal_lm",
    "classification", "sampled", "top_k", "hidden", "live", "reverse_kl", "jensen_shannon",
    "teacher", "random", "bfloat16", "lora", "full", "none", "head", "corpus", "influence", "wsd",
    "onnx", "wordpiece", "bpe", "word", "lstm", "fitted", "contextual",
]  # fmt: skip
SHAPES = [
    "[]", "{}", "[[]]", "[{}]", "{a: {b: c}}", "[a, [b, [c]]]", "{[1]: 2}", "{? {a: b} : c}",
    "{1: 2}", "{~: x}", "{true: x}", "{'': x}", "{<<: {a: b}}", "{'<<': x}", "{a: 1, a: 2}",
    "[1, a, ~, true, 1.5]", "&a [*a]", "&b {x: *b}", "*nowhere", "!!int many", "!!int ''",
    "!!bool maybe", "!!float x", "!!null x", "!!str 5", "!!binary aGk=", "!!set {a, b}",
    "!!python/object/apply:os.system [id]", "!foo bar", "!<tag:x,2000:y> z", "!!seq {}", "!!map []",
    "!!timestamp x", "2024-01-01", "<<", "=", "- x", "? x", "|", ">", "%", "@x", "`x", "#", "\tx",
    "[" * 60, "[" * 60 + "]" * 60, "{a: " * 60 + "}" * 60, "[" * 3_000, "[a, a]", "[a, b, c]",
    "[" + "x, " * 3_000 + "]", "[" + ", ".join(f"l{i}" for i in range(3_000)) + "]",
    "{" + ", ".join(f"k{i}: {i}" for i in range(500)) + "}",
    "[" + "y" * 100_000 + ", " + "y" * 100_000 + "]", "!" * 100, "&x" * 50, "'unclosed", "[unclosed",
]  # fmt: skip
BOMB = "&a0 [x, x]\n" + "".join(f"b{i}: &a{i} [{f'*a{i - 1}, ' * 9}]\n" for i in range(1, 12))
LINES = [
    "<<: *nowhere", "---", "...", "%YAML 1.1", "%TAG ! x", "task: {}", "a: b: c", "\tx: y", "- a",
    "? [a]", "!!str x: y", f"bomb: {BOMB}", "\x00", "\x07", "\ufeff", "\u2028", "\x85x: y", ": x",
    "students: {a: &s {kind: rnn}, b: *s}", "data: *d", "x: |\n y\n z", "&t task2: x", "x" * 5_000,
    "train:", "task: classification", "students: []", "export: {}", "name: 5", "name: ''",
    "name: ../x", "name: " + "n" * 250, "name: " + "n" * 100_000,
]  # fmt: skip
KEYS = [
    "kind", "method", "model", "labels", "train", "test", "layers", "''", "5", "~", "'<<'", "<<",
    "é", '"\\ud800"', '"\\0"', '"\\x1b[2J"', '"a\\nb"', "__class__", "spec", "model_config", "-",
    "k" * 300, "k" * 50_000, "[a]", "{a: b}", "true", "'a.b'", "'../x'",
]  # fmt: skip

any_text = st.text(max_size=30).map(lambda text: json.dumps(text, ensure_ascii=True))
raw_text = st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace").decode())
fragments = st.one_of(
    *map(st.sampled_from, (NUMBERS, TEXTS, PATHS, WORDS, SHAPES)), any_text, raw_text
)


class Raw(str):
    """YAML as it is."""


def written(value: Any, indent: str = "") -> str:
    """A value as block YAML, from its own line on."""
    match value:
        case Raw():
            return f" {value}\n"
        case dict() if value:
            return "\n" + "".join(
                f"{indent}{key if isinstance(key, Raw) else json.dumps(key)}:{written(one, indent + '  ')}"
                for key, one in value.items()
            )
        case list() if value:
            return "\n" + "".join(f"{indent}-{written(one, indent + '  ')}" for one in value)
        case _:
            return f" {json.dumps(value)}\n"


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything in a recipe."""
    inside = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [way, *(place for key, one in inside for place in places(one, (*way, key)))]


def changed(value: Any, way: tuple[Any, ...], change: str, fragment: str) -> Any:
    """The recipe with one thing about one place changed."""
    if not way:
        return (
            Raw(fragment)
            if change == "value"
            else {**value, Raw(fragment): 1}
            if isinstance(value, dict)
            else value
        )
    key, *rest = way
    if isinstance(value, list):
        return [
            changed(one, tuple(rest), change, fragment) if place == key else one
            for place, one in enumerate(value)
        ]
    if rest or change not in ("key", "remove"):
        return {
            name: changed(one, tuple(rest), change, fragment) if name == key else one
            for name, one in value.items()
        }
    if change == "remove":
        return {name: one for name, one in value.items() if name != key}
    return {Raw(fragment) if name == key else name: one for name, one in value.items()}


@st.composite
def recipes(draw: st.DrawFn) -> bytes:
    """A recipe with something hostile in it."""
    recipe = draw(st.sampled_from([CLASSES, PROMPTED, TOKENS, HIDDEN, TOP]))
    for _ in range(draw(st.integers(1, 3))):
        ways = places(recipe)
        way = draw(st.sampled_from(ways))
        change = draw(st.sampled_from(["value", "value", "value", "value", "key", "remove", "add"]))
        fragment = draw(fragments if change == "value" else st.sampled_from(KEYS))
        recipe = changed(recipe, way, change, fragment)
    text = written(recipe).lstrip("\n ")
    if draw(st.integers(0, 4)) == 0:
        lines = text.split("\n")
        lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(LINES)))
        text = "\n".join(lines)
    raw = text.encode("utf-8", "surrogatepass")
    match draw(st.integers(0, 30)):
        case 0:
            return raw[: draw(st.integers(0, len(raw)))]
        case 1:
            return text.encode(draw(st.sampled_from(["utf-16", "utf-32", "latin-1"])), "replace")
        case 2:
            place = draw(st.integers(0, len(raw)))
            return raw[:place] + draw(st.binary(max_size=4)) + raw[place:]
        case 3:
            return raw.replace(b"\n", draw(st.sampled_from([b"\r\n", b"\r", b"\n\n"])))
    return raw


garbage = st.one_of(
    st.binary(max_size=200),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
    st.lists(fragments, max_size=8).map(lambda parts: "\n".join(parts).encode("utf-8", "replace")),
    st.text("[]{}:,-?&*!|>'\"%@`#<= \n\tax0", max_size=120).map(str.encode),
)
overrides = st.one_of(
    st.builds(
        "{}={}".format,
        st.sampled_from(
            [".".join(map(str, way)) for one in (CLASSES, TOKENS) for way in places(one)]
        ),
        fragments,
    ),
    st.text(max_size=40),
    st.sampled_from(
        ["a" + ".a" * 5_000 + "=1", "=", "a=", ".=1", "a.=1", "train.epochs", "=" * 5_000]
    ),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that the recipes name."""
    folder = tmp_path_factory.mktemp("recipes")
    rows = made_up(40, seed=0)
    for name, part in (("train", rows[:24]), ("validation", rows[24:32]), ("test", rows[32:])):
        write_csv(folder / f"{name}.csv", part)
    write_teacher(folder / "teacher")
    (folder / "folder.csv").mkdir()
    (folder / "empty.csv").write_text("")
    (folder / "dangling.csv").symlink_to("nowhere.csv")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _quick(place: Path) -> Any:
    """A machine whose speed is known, and nothing fetched or kept outside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUTELAGE_CACHE", str(place / "cache"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.chdir(place)
        for task in ("classification", "language"):
            patch.setattr(f"tutelage.tasks.{task}.checking.matrix_product_rate", lambda: 1e11)
        yield


@pytest.mark.parametrize("recipe", [CLASSES, PROMPTED, TOKENS, HIDDEN, TOP])
def test_what_the_hostile_ones_begin_with_is_fine(recipe: dict[str, Any], place: Path) -> None:
    (place / "fine.yaml").write_text(written(recipe), encoding="utf-8")
    code, said = answer("check", place / "fine.yaml")
    assert code == 0, said


@hostile("recipe")
@given(st.one_of(recipes(), recipes(), recipes(), garbage))
def test_any_recipe_is_answered_in_words(place: Path, content: bytes) -> None:
    (place / "recipe.yaml").write_bytes(content)
    answer("check", "recipe.yaml")


@hostile("recipe")
@given(st.sampled_from([CLASSES, TOKENS]), st.lists(overrides, min_size=1, max_size=2))
def test_any_override_is_answered_in_words(
    place: Path, recipe: dict[str, Any], given_words: list[str]
) -> None:
    (place / "other.yaml").write_text(written(recipe), encoding="utf-8")
    answer("check", "other.yaml", *(f"--set={one}" for one in given_words))
