import base64
import csv
import hashlib
import importlib
import json
import re
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.slim_environment import call, slim_environment
from tests.runtime.tiny_bundles import LABELS, write_ngrams, write_tokens

from tutelage.errors import ModelError, RecipeError
from tutelage.export import Origin, Subject, export
from tutelage.export.subject import Package
from tutelage.export.wheel import REQUIRES, REQUIRES_PYTHON, package_name, write_wheel
from tutelage.recipes.exporting import export_student
from tutelage.students import load_classifier
from tutelage.students.vocabulary.training import train_tokenizer
from tutelage_runtime import load
from tutelage_runtime.ngrams import NGrams

TEXTS = ["a fine film", "nobody will see this twice", "", "naïve \0 👩\u200d👧"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    tokenizer = train_tokenizer(TEXTS, vocabulary_size=80).backend_tokenizer
    folder = write_tokens(tmp_path_factory.mktemp("tiny"), tokenizer, temperature=1.5)
    (folder / "MODEL_CARD.md").write_text("---\na: b\n---\n\n# Tiny\n\nNaïve.\n", "utf-8")
    return folder


@pytest.fixture
def unpacked(tiny, tmp_path, monkeypatch):
    """Gives the imported package of a wheel, without installing it."""

    def unpack(folder, name):
        wheel = write_wheel(folder, tmp_path, name=name)
        zipfile.ZipFile(wheel).extractall(tmp_path / "site")
        monkeypatch.syspath_prepend(tmp_path / "site")
        return importlib.import_module(name)

    return unpack


def test_it_answers_as_the_export_does(tiny, unpacked):
    package = unpacked(tiny, "tiny_reviews")
    assert tuple(LABELS) == package.LABELS
    answers, expected = package.classify(TEXTS), load(tiny).probs(TEXTS)
    assert [list(answer.probs.values()) for answer in answers] == expected.tolist()
    for answer, row in zip(answers, expected, strict=True):
        assert (answer.label, answer.probability) == (LABELS[row.argmax()], float(row.max()))
    assert package.classify_one(TEXTS[0]) == package.classify(TEXTS[:1])[0]
    assert package.classify([]) == []
    with pytest.raises(ValueError, match="text 0 is of type int"):
        package.classify([5])


def test_it_stands_by_itself(tiny, unpacked):
    package = unpacked(tiny, "tiny_alone")
    package.classify_one("a")
    folder = Path(package.__file__).parent
    for path in folder.rglob("*.py"):
        assert not re.search(r"(from|import) tutelage", path.read_text()), path
    assert {name for name in sys.modules if name.startswith("tiny_alone.runtime.")} >= {
        f"tiny_alone.runtime.{name}" for name in ("bundle", "encoding", "session", "tokens")
    }


def test_a_student_of_ngrams_answers_too(tmp_path, unpacked):
    ngrams = NGrams(["fine", "a fine"], ["fin"], longest_words=2, longest_characters=3)
    folder = write_ngrams(tmp_path / "tiny", ngrams)
    answers = unpacked(folder, "tiny_ngrams").classify(TEXTS)
    np.testing.assert_array_equal(
        [list(answer.probs.values()) for answer in answers], load(folder).probs(TEXTS)
    )


def test_the_command_answers_a_line_each(tiny, unpacked, capsys):
    unpacked(tiny, "tiny_command")
    main = importlib.import_module("tiny_command.__main__").main
    assert main(["a fine film", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["label"] in LABELS
    assert main(["a", "--file", "b.csv"]) == 2
    assert capsys.readouterr().err == "error: give texts, or --file, and not both\n"


def test_the_same_student_gives_the_same_bytes(tiny, tmp_path):
    first, second = (write_wheel(tiny, tmp_path / place) for place in "ab")
    assert first.read_bytes() == second.read_bytes()
    version = load(tiny).version
    assert first.name == second.name == f"tiny-1.0+s{version}-py3-none-any.whl"
    assert write_wheel(tiny, tmp_path, version="2.0").name == "tiny-2.0-py3-none-any.whl"


def test_its_record_has_the_sum_of_every_file(tiny, tmp_path):
    archive = zipfile.ZipFile(write_wheel(tiny, tmp_path, version="1"))
    rows = list(csv.reader(archive.read("tiny-1.dist-info/RECORD").decode().splitlines()))
    assert sorted(name for name, *_ in rows) == sorted(archive.namelist())
    for name, told, size in rows[:-1]:
        content = archive.read(name)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        assert (told, size) == (f"sha256={digest}", str(len(content)))
    assert rows[-1] == ["tiny-1.dist-info/RECORD", "", ""]
    assert archive.testzip() is None


def test_what_it_needs_is_what_the_runtime_needs(tiny, tmp_path):
    project = tomllib.loads((ROOT / "runtime/pyproject.toml").read_text())["project"]
    assert list(REQUIRES) == project["dependencies"]
    assert project["requires-python"] == REQUIRES_PYTHON
    archive = zipfile.ZipFile(write_wheel(tiny, tmp_path, version="1"))
    metadata = archive.read("tiny-1.dist-info/METADATA").decode()
    assert [line for line in metadata.splitlines() if line.startswith("Requires-Dist")] == [
        f"Requires-Dist: {one}" for one in REQUIRES
    ]
    assert metadata.endswith("\nDescription-Content-Type: text/markdown\n\n# Tiny\n\nNaïve.\n\n")


def test_the_format_leaves_a_wheel_and_its_card(student, tmp_path, monkeypatch):
    origin = Origin(run={"name": "reviews"})
    facts = export("wheel_int8", Subject(student("linear"), "linear", origin), tmp_path / "wheel")
    [card, parity, wheel] = sorted(path.name for path in (tmp_path / "wheel").iterdir())
    assert (card, parity) == ("MODEL_CARD.md", "parity.json")
    assert wheel == facts["wheel"] == f"reviews_linear-1.0+s{facts['version']}-py3-none-any.whl"
    described = (tmp_path / "wheel/MODEL_CARD.md").read_text()
    assert 'reviews_linear.classify_one("Some text.")' in described
    archive = zipfile.ZipFile(tmp_path / "wheel" / wheel)
    metadata = archive.read(f"{wheel.removesuffix('-py3-none-any.whl')}.dist-info/METADATA")
    assert described.partition("\n---\n")[2].strip() in metadata.decode()
    archive.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    package = importlib.import_module("reviews_linear")
    expected = load_classifier(student("linear")).probs(["a great film"])
    found = package.classify_one("a great film").probs
    assert tuple(found) == package.LABELS
    np.testing.assert_allclose([list(found.values())], expected, atol=0.05)


def test_a_name_and_a_version_are_taken_as_given(student, tmp_path):
    subject = Subject(student("linear"), "linear", package=Package("Acme-Sentiment", "1.2.0"))
    facts = export("wheel", subject, tmp_path / "wheel")
    assert facts["wheel"] == "acme_sentiment-1.2.0-py3-none-any.whl"
    described = (tmp_path / "wheel/MODEL_CARD.md").read_text()
    assert 'acme_sentiment.classify_one("Some text.")' in described
    metadata = zipfile.ZipFile(tmp_path / "wheel" / facts["wheel"]).read(
        "acme_sentiment-1.2.0.dist-info/METADATA"
    )
    assert b"\nName: acme-sentiment\nVersion: 1.2.0\n" in metadata


@pytest.mark.parametrize(
    ("package", "message"),
    [
        (Package("acme sentiment"), "'acme sentiment' is no name of a package"),
        (Package("-acme"), "'-acme' is no name"),
        (Package("a\n"), "is no name"),
        (Package("naïve"), "is no name"),
        (Package("3m"), "begins with a digit .* such as student-3m"),
        (Package("NumPy"), "name of something else that Python has"),
        (Package("acme", "one"), "'one' is no version"),
    ],
)
def test_what_pip_could_not_install_is_refused_before_any_work(student, package, message):
    with pytest.raises(ModelError, match=message):
        export_student(student("linear"), "wheel", package=package)
    with pytest.raises(RecipeError, match="onnx is no package: give --name and --version with"):
        export_student(student("linear"), "onnx", package=package)


def test_names_become_such_that_python_imports_and_nothing_else_has():
    assert package_name("2 Reviews/LSTM.v3") == "student_2_reviews_lstm_v3"
    for taken in ("json", "numpy", "class", "tutelage_runtime"):
        assert package_name(taken) == f"student_{taken}"
    with pytest.raises(ModelError, match="'--' cannot be the name of a package: give letters"):
        package_name("--")


def test_no_export_and_no_version_are_refused(tiny, tmp_path):
    with pytest.raises(ModelError, match=r"has no student\.json: give a folder"):
        write_wheel(tmp_path, tmp_path)
    with pytest.raises(ModelError, match="'new' is no version of a package: give one such as"):
        write_wheel(tiny, tmp_path, version="new")


@pytest.mark.slow
def test_installed_it_answers_as_the_export_does(tiny, tmp_path):
    commands = slim_environment(tmp_path / "venv", write_wheel(tiny, tmp_path, name="my films"))
    expected = load(tiny).probs(TEXTS)
    code = (
        "import json, sys, my_films\n"
        "answers = my_films.classify(json.loads(sys.argv[1]))\n"
        "print(json.dumps([list(one.probs.values()) for one in answers]))\n"
    )
    told = call([commands / "python", "-c", code, json.dumps(TEXTS)])
    np.testing.assert_array_equal(np.float32(json.loads(told)), expected)
    [label, *_] = call([commands / "my-films", TEXTS[0]]).split("\t")
    assert label == LABELS[expected[0].argmax()]
