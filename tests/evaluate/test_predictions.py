import numpy as np
import pyarrow.parquet as pq

from tutelage.evaluate.classes.predictions import write_predictions
from tutelage.types import Example


def test_columns_and_contents(tmp_path):
    examples = [Example("good", 1, "test.csv", 1), Example("hm", None, "test.csv", 2)]
    probs = np.array([[0.25, 0.75], [0.5, 0.5]])
    path = tmp_path / "predictions.parquet"
    write_predictions(
        path,
        examples,
        labels=["no", "yes"],
        teacher=probs,
        students={"gru": probs},
        controls={"gru": probs},
    )
    table = pq.read_table(path)
    assert table.column_names == [
        "example_id",
        "source",
        "row",
        "text",
        "label",
        "teacher",
        "students.gru",
        "controls.gru",
    ]
    assert table["label"].to_pylist() == ["yes", None]
    assert table["example_id"][0].as_py() == examples[0].example_id.hex()
    assert table["students.gru"].to_pylist() == probs.tolist()
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.parquet"]
