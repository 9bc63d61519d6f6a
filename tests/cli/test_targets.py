"""`tutelage targets`: words, exit codes, and what people see of a store."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.targets.token_targets import documents, name, open_writer, write
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, PreTrainedTokenizerFast

from tutelage.cli.main import main
from tutelage.cli.parser import build_parser
from tutelage.cli.targets import ACTIONS
from tutelage.models.reading import tokenizer_fingerprint
from tutelage.targets import TargetStore, jsonl_lines


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write(tmp_path / "targets", "sampled", documents("sampled", [30, 2]))


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory) -> Path:
    """Spells id 7 as `w7`."""
    folder = tmp_path_factory.mktemp("tokenizer")
    words = Tokenizer(
        models.WordLevel({f"w{number}": number for number in range(400)}, unk_token="w0")
    )
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="w0", pad_token="w0").save_pretrained(
        folder
    )
    LlamaConfig(vocab_size=400).save_pretrained(folder)
    save_file({"weight": np.zeros(1, np.float32)}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def fingerprint(tokenizer_folder: Path) -> str:
    return tokenizer_fingerprint(PreTrainedTokenizerFast.from_pretrained(tokenizer_folder))


def test_words_after_targets_are_a_contract() -> None:
    (commands,) = [
        action
        for action in build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    (actions,) = [
        action
        for action in commands.choices["targets"]._actions
        if isinstance(action, argparse._SubParsersAction)
    ]
    assert (
        sorted(actions.choices)
        == ["export", "inspect", "merge", "repair", "verify"]
        == sorted(ACTIONS)
    )
    for parser in actions.choices.values():
        options = {option for action in parser._actions for option in action.option_strings}
        assert {"--json", "--quiet", "--traceback"} <= options


def test_inspect_shows_numbers(store, capsys) -> None:
    assert main(["targets", "inspect", str(store), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert list(facts) == [
        "kind", "rows", "positions", "bytes", "bytes_per_position", "mean_entropy_nats", "kept_mass", "teacher",
        "tokenizer", "complete", "vocabulary_size", "encoding", "mean_head", "mean_tail",
    ]  # fmt: skip
    assert main(["targets", "inspect", str(store)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["positions"] == "32"
    assert lines["mean_head"] == f"{facts['mean_head']:.3f}"


def test_inspect_spells_ids_with_the_tokenizer_of_the_store(
    tmp_path, tokenizer_folder, fingerprint, capsys
) -> None:
    path = write(
        tmp_path / "targets", "sampled", documents("sampled", [30, 2]), tokenizer=fingerprint
    )
    assert main(["targets", "inspect", str(path), "--tokenizer", str(tokenizer_folder)]) == 0
    shown = capsys.readouterr().out
    assert shown.count(": entropy ") == 2  # there are two documents
    assert '  head  "w' in shown
    assert '  tail  "w' in shown
    assert (
        main(
            [
                "targets",
                "inspect",
                str(path),
                "--tokenizer",
                str(tokenizer_folder),
                "--json",
                "--samples",
                "1",
            ]
        )
        == 0
    )
    (sample,) = json.loads(capsys.readouterr().out)["samples"]
    assert all(entry["text"] == f"w{entry['id']}" for entry in sample["head"] + sample["tail"])


def test_inspect_shows_ids_where_nothing_spells_them(store, capsys) -> None:
    assert main(["targets", "inspect", str(store), "--samples", "1"]) == 0
    shown = capsys.readouterr().out
    assert shown.count(": entropy ") == 1
    assert '"w' not in shown


def test_another_tokenizer_is_refused(store, tokenizer_folder, fingerprint, capsys) -> None:
    assert main(["targets", "inspect", str(store), "--tokenizer", str(tokenizer_folder)]) == 1
    assert (
        f"has tokenizer {fingerprint}, but the store was written for k1" in capsys.readouterr().err
    )
    assert main(["targets", "inspect", str(store), "--tokenizer", str(store)]) == 2


def test_the_tokenizer_of_a_run_is_found(tmp_path, tokenizer_folder, fingerprint, capsys) -> None:
    write(tmp_path / "targets", "sampled", documents("sampled", [30, 2]), tokenizer=fingerprint)
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=tokenizer_folder), encoding="utf-8")
    assert main(["targets", "inspect", str(tmp_path)]) == 0
    assert '  head  "w' in capsys.readouterr().out
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(model=tmp_path / "gone"), encoding="utf-8")
    assert main(["targets", "inspect", str(tmp_path)]) == 0
    captured = capsys.readouterr()
    assert ": entropy " not in captured.out
    assert "Ids are not spelled" in captured.err


RECIPE = """\
task: {{kind: causal_lm}}
data: {{train: corpus.jsonl, test: heldout.jsonl}}
teacher: {{kind: causal_lm, model: {model}}}
targets: {{kind: sampled}}
students:
  half: {{kind: pruned, layers: 1}}
"""


def test_verify_names_broken_parts(store, capsys) -> None:
    assert main(["targets", "verify", str(store)]) == 0
    assert "every part matches its checksum" in capsys.readouterr().out
    part = store / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    assert main(["targets", "verify", str(store), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert "part-00000.parquet is damaged" in answer["broken"][0]


def test_merge_puts_stores_together(tmp_path, store, capsys) -> None:
    run = tmp_path / "run"
    write(run / "targets", "sampled", documents("sampled", [3]), [name(9)])
    out = tmp_path / "all"
    assert main(["targets", "merge", str(store), str(run), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"store": str(out), "rows": 3, "positions": 35}
    assert name(9) in TargetStore.open(out)
    assert main(["targets", "merge", str(store), str(run), "--out", str(out)]) == 0
    assert f"3 rows, 35 positions: {out}" in capsys.readouterr().out
    assert main(["targets", "merge", str(store), str(tmp_path / "none"), "--out", str(out)]) == 2
    other = write(tmp_path / "other", "sampled", documents("sampled", [3]), teacher="t2")
    assert main(["targets", "merge", str(store), str(other), "--out", str(out)]) == 1
    assert 'whose teacher is "t1", not "t2"' in capsys.readouterr().err


def test_export_writes_lines(tmp_path, store, capsys) -> None:
    lines = list(jsonl_lines(store))
    assert main(["targets", "export", str(store)]) == 0
    assert capsys.readouterr().out.splitlines() == lines
    out = tmp_path / "targets.jsonl"
    assert (
        main(["targets", "export", str(store), "--format", "jsonl", "--out", str(out), "--json"])
        == 0
    )
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "rows": 2}
    assert out.read_text("utf-8").splitlines() == lines
    assert main(["targets", "export", str(store), "--json"]) == 2


@pytest.mark.parametrize("word", ["inspect", "verify", "export"])
def test_where_there_is_no_store_the_command_is_named(tmp_path, word, capsys) -> None:
    assert main(["targets", word, str(tmp_path)]) == 2
    assert "holds no manifest.json" in capsys.readouterr().err


def test_an_interrupted_store_is_shown(tmp_path, capsys) -> None:
    with open_writer(tmp_path / "targets", "sampled") as writer:
        writer.add([name(0)], documents("sampled", [3]))
    assert main(["targets", "inspect", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["complete"] is False
