"""What is answered to every test row: by simple methods, and in predictions.parquet by every model,
for the report and for whoever wants to look.

The simple methods need no neural network: labels and texts come in, probabilities for the test rows
go out. A student that does not beat these is not worth deploying, so the report always shows them
on the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import ArrayLike, NDArray

from tutelage.errors import DataError
from tutelage.runs import replacing
from tutelage.types import Example


def majority(train_labels: ArrayLike, num_rows: int, *, num_classes: int) -> NDArray[np.float32]:
    """Answer every row with how often each label occurs in train.

    The best answer that never reads the text: its accuracy is the share of the commonest label, and
    its negative log-likelihood the floor that any model must get under. Counts are smoothed by one,
    so that no label is impossible.

    Args:
        train_labels: Label indexes, negative where nobody labelled the row.
        num_rows: How many answers to give.
        num_classes: How many labels the task has.

    Returns:
        Probabilities [num_rows, num_classes], the same in every row.
    """
    counts = np.bincount(_known(train_labels, num_classes), minlength=num_classes) + 1.0
    return np.tile((counts / counts.sum()).astype(np.float32), (num_rows, 1))


def tfidf_logistic_regression(
    train_texts: Sequence[str], train_labels: ArrayLike, test_texts: Sequence[str], num_classes: int
) -> NDArray[np.float32]:
    """Fit logistic regression on TF-IDF of words and word pairs, and answer the test rows.

    The method a careful engineer tries first: seconds to fit, microseconds to answer. Labels that
    no training row carries get probability zero.

    Args:
        train_texts: Texts to learn from; rows without a label are left out.
        train_labels: Label indexes beside `train_texts`, negative where nobody labelled the row.
        test_texts: Texts to answer.
        num_classes: How many labels the task has.

    Returns:
        Probabilities [len(test_texts), num_classes].

    Raises:
        DataError: The labelled rows carry fewer than two labels.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    labels = np.asarray(train_labels, dtype=np.int64)
    rows = np.flatnonzero(labels >= 0)
    seen = np.unique(_known(labels, num_classes))
    if len(seen) < 2:
        raise DataError(
            f"the TF-IDF baseline got {len(rows)} labelled rows with {len(seen)} different labels "
            "and needs at "
            "least two labels: "
            "label more rows, or set evaluate.baselines to false"
        )
    # A token is a run of word characters or one other visible sign, so that texts of emoji or of
    # one-letter words count too.
    features = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+|[^\w\s]", max_features=200_000
    )
    pipeline = make_pipeline(features, LogisticRegression(C=4.0, max_iter=1000))
    pipeline.fit([train_texts[int(row)] for row in rows], labels[rows])
    probs = np.zeros((len(test_texts), num_classes), dtype=np.float32)
    if len(test_texts):
        probs[:, seen] = pipeline.predict_proba(list(test_texts))
    return probs


def _known(train_labels: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """The labels of the labelled rows, checked against the number of labels."""
    labels = np.asarray(train_labels, dtype=np.int64)
    if labels.size and labels.max() >= num_classes:
        raise DataError(
            f"label index {labels.max()} was given but the task has {num_classes} labels: check "
            "the label list"
        )
    return labels[labels >= 0]


def write_predictions(
    path: Path,
    examples: Sequence[Example],
    *,
    labels: Sequence[str],
    teacher: NDArray[np.floating],
    students: Mapping[str, NDArray[np.floating]],
    controls: Mapping[str, NDArray[np.floating]] | None = None,
) -> None:
    """Write the test rows beside every model's probabilities, atomically.

    Args:
        path: The Parquet file to write; an older one is replaced whole.
        examples: The test rows.
        labels: Names of the labels, in the order of the probabilities.
        teacher: The teacher's probabilities [N, C].
        students: Probabilities [N, C] by student.
        controls: Probabilities [N, C] by student, from the same network trained without the
            teacher.
    """
    columns: dict[str, pa.Array] = {
        "example_id": pa.array([example.example_id.hex() for example in examples], pa.string()),
        "source": pa.array([example.source for example in examples], pa.string()),
        "row": pa.array([example.row for example in examples], pa.int64()),
        "text": pa.array([example.text for example in examples], pa.string()),
        "label": pa.array(
            [None if example.label is None else labels[example.label] for example in examples],
            pa.string(),
        ),
        "teacher": _probabilities(teacher),
    }
    columns |= {f"students.{name}": _probabilities(probs) for name, probs in students.items()}
    columns |= {
        f"controls.{name}": _probabilities(probs) for name, probs in (controls or {}).items()
    }
    with replacing(path) as beside:
        pq.write_table(pa.table(columns), beside, compression="zstd")


def _probabilities(probs: NDArray[np.floating]) -> pa.Array:
    """A [N, C] array as one list of float32 per row."""
    return pa.array(list(np.asarray(probs, dtype=np.float32)), pa.list_(pa.float32()))
