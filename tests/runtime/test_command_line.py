import io
import json
import subprocess
import sys

import pytest

from tutelage_runtime import load
from tutelage_runtime.__main__ import COMMANDS, main


@pytest.fixture
def type_in(monkeypatch):
    """Puts lines on stdin."""

    def put(text):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return put


def test_texts_are_answered_a_line_each(bundle, capsys):
    given = ["a fine film", "two\nlines\tand a tab"]
    assert main(["predict", str(bundle), *given]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    student = load(bundle)
    probs = student.probs(given)
    assert lines == [
        [student.labels[row.argmax()], f"{row.max():.4f}", " ".join(text.split())]
        for text, row in zip(given, probs, strict=True)
    ]


@pytest.mark.parametrize(
    "words",
    [["--json", "a", "b"], ["a", "--json", "b"], ["a", "b", "--json"], ["--json", "--", "-a"]],
)
def test_texts_may_come_after_options(words, bundle, capsys):
    assert main(["predict", str(bundle), *words]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == (["-a"] if "--" in words else ["a", "b"])


FILES = {
    "texts.csv": 'label,text\nyes,"a fine, long film"\nno,naïve\n',
    "texts.tsv": "text\tlabel\na fine, long film\tyes\nnaïve\tno\n",
    "texts.jsonl": '{"text": "a fine, long film"}\n\n{"text": "na\\u00efve", "label": 1}\n',
    "texts.txt": "a fine, long film\nnaïve\r\n",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_files_and_stdin_give_the_same(name, mark, bundle, tmp_path, capsys, type_in):
    (tmp_path / name).write_bytes((mark + FILES[name]).encode())
    assert main(["predict", str(bundle), "--file", str(tmp_path / name), "--json"]) == 0
    from_file = capsys.readouterr().out
    type_in("a fine, long film\nnaïve\n")
    assert main(["predict", str(bundle), "--json"]) == 0
    assert capsys.readouterr().out == from_file
    rows = [json.loads(line) for line in from_file.splitlines()]
    assert [row["text"] for row in rows] == ["a fine, long film", "naïve"]
    assert all(row["probs"][row["label"]] == max(row["probs"].values()) for row in rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            b"review,label\nx,y\n",
            "a.csv has no text 'text' but review, label: name another",
        ),
        ("a.csv", b"label,text\nyes\n", "a.csv, row 1 has no 'text'"),
        ("a.csv", b"", "a.csv has no text 'text' but nothing"),
        ("a.jsonl", b'{"text": "a"}\n{"text": 5}\n', "a.jsonl, line 2 has no text 'text'"),
        ("a.jsonl", b"{\n", "a.jsonl, line 1 is no JSON"),
        ("a.jsonl", b'{"text": "\\ud800"}\n', "text 0 has a lone surrogate (U+D800)"),
        ("a.txt", b"\xff\xfe", "a.txt is not UTF-8"),
        ("a.xlsx", b"", "a.xlsx ends in .xlsx; expected .csv, .tsv, .jsonl or .txt"),
        ("a.txt", None, "No such file"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(name, content, message, bundle, tmp_path, capsys):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert main(["predict", str(bundle), "--file", str(tmp_path / name)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_no_folder_no_texts_or_too_many(bundle, tmp_path, capsys, monkeypatch):
    assert main(["predict", str(tmp_path), "text"]) == 2
    assert "has no student.json: give a folder" in capsys.readouterr().err
    assert main(["predict", str(bundle), "text", "--file", "a.csv"]) == 2
    assert "give texts, or --file, and not both" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    assert main(["predict", str(bundle)]) == 2
    assert "or texts on stdin" in capsys.readouterr().err


def test_wrong_words_are_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["predict"])
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "the following arguments are required: folder" in line
    with pytest.raises(SystemExit):
        main(["predict", "folder", "text", "--wide"])
    assert "error: unrecognized arguments: --wide; see" in capsys.readouterr().err


def test_the_commands_are_listed_and_others_refused(capsys):
    assert main([]) == main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {word} " in out for word in COMMANDS)
    assert main(["precit"]) == 2
    assert "error: there is no command 'precit': expected one of predict" in capsys.readouterr().err


def test_a_process_of_its_own_needs_no_torch(bundle):
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'tutelage', 'sklearn', 'scipy', 'pydantic'):\n"
        "    sys.modules[name] = None\n"
        "from tutelage_runtime.__main__ import main\n"
        f"sys.exit(main(['predict', {str(bundle)!r}, 'na\\u00efve \\U0001f600', '--json']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        env={"PYTHONIOENCODING": "ascii", "PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "naïve \U0001f600"
