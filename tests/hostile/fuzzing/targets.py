"""What the fuzzer gives bytes to: readers of files and of requests that strangers made.

Each target is made by a function that lays out what it needs in a folder of its own, and returns
`Target`: inputs to begin with, and what reads one. Reading ends, or refuses in an error of our own;
anything else that it raises is a fault.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tutelage.errors import TutelageError


@dataclass(frozen=True)
class Target:
    """A reader of bytes."""

    seeds: list[bytes]
    read: Callable[[bytes], None]
    json_from: int | None = None
    """Bytes before its JSON, whose values are then changed as values too; None: it is no JSON."""


def recipe(folder: Path) -> Target:
    """Recipes of both tasks, up to their sections."""
    from tests.hostile import test_recipes as known

    from tutelage.recipes.loading import load_recipe

    path = folder / "recipe.yaml"
    bases = (known.CLASSES, known.PROMPTED, known.TOKENS, known.HIDDEN, known.TOP)

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(TutelageError):
            load_recipe(path)

    return Target([known.written(one).lstrip("\n ").encode() for one in bases], read)


def _rows(name: str, seeds: list[bytes]) -> Callable[[Path], Target]:
    def make(folder: Path) -> Target:
        from tests.data.tiny_tokenizer import make_tokenizer
        from tests.hostile.test_data import LABELS, SMALL

        from tutelage.data import prepare, prepare_documents

        path, tokenizer = folder / name, make_tokenizer()
        shares: dict[str, Any] = {"test": 0.4, "validation": 0.2, "limits": SMALL}
        field = "text" if name.endswith("csv") else "messages"

        def read(content: bytes) -> None:
            path.write_bytes(content)
            with suppress(TutelageError):
                prepare(path, LABELS, **shares)
            with suppress(TutelageError):
                prepare_documents(path, tokenizer, **shares, **{f"{field}_field": field})

        return Target(seeds, read)

    make.__doc__ = f"{name} of both tasks."
    return make


_ROWS = [
    {
        "text": f"the cat sat on mat {row}",
        "label": ("bad", "good", "café")[row % 3],
        "messages": [
            {"role": "user", "content": f"is it {row}?"},
            {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
        ],
    }
    for row in range(8)
]
_JSONL = "".join(json.dumps(row) + "\n" for row in _ROWS).encode()
_CSV = ("text,label\n" + "".join(f'"{row["text"]}",{row["label"]}\n' for row in _ROWS)).encode()


def _parquet_seeds() -> list[bytes]:
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    seeds = []
    turns = [{"role": "user", "content": "is it?"}, {"role": "assistant", "content": "yes"}]
    rows = [row | {"messages": turns} for row in _ROWS]
    for compression in ("none", "zstd"):
        out = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), out, compression=compression)
        seeds.append(out.getvalue())
    return seeds


def parquet(folder: Path) -> Target:
    """Parquet files of both tasks."""
    return _rows("rows.parquet", _parquet_seeds())(folder)


def manifest(folder: Path) -> Target:
    """The manifest of a store beside its whole parts."""
    from tests.hostile.stores import content_of

    from tutelage.targets.checking import inspect, verify

    seeds = []
    for kind in ("class_probabilities", "sampled"):
        (folder / kind).mkdir()
        for name, content in content_of(kind, described=True).items():
            (folder / kind / name).write_bytes(content)
        seeds.append((folder / kind / "manifest.json").read_bytes())

    def read(content: bytes) -> None:
        store = folder / ("sampled" if b"sampled" in content[:400] else "class_probabilities")
        (store / "manifest.json").write_bytes(content)
        for ask in (verify, inspect):
            with suppress(TutelageError):
                ask(store)

    return Target(seeds, read, json_from=0)


def part(folder: Path) -> Target:
    """A part of a store, whose manifest has the checksum that it now has."""
    from tests.hostile.stores import content_of, mend

    from tutelage.targets.checking import inspect

    first: dict[str, Path] = {}
    for kind in ("class_probabilities", "sampled"):
        (folder / kind).mkdir()
        for name, content in content_of(kind, described=False).items():
            (folder / kind / name).write_bytes(content)
        first[kind] = min((folder / kind).glob("*.parquet"))
    seeds = [path.read_bytes() for path in first.values()]

    def read(content: bytes) -> None:
        kind = "class_probabilities" if b"probs" in content else "sampled"
        store = folder / kind
        first[kind].write_bytes(content)
        mend(store)
        with suppress(TutelageError):
            inspect(store)

    return Target(seeds, read)


def _model(folder: Path) -> None:
    from tests.hostile.test_models import tiny_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=64,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def model_config(folder: Path) -> Target:
    """`config.json` of a model."""
    from tutelage.models import context_tokens, model_facts, read_config

    _model(folder)

    def read(content: bytes) -> None:
        (folder / "config.json").write_bytes(content)
        with suppress(TutelageError):
            model_facts(str(folder))
        with suppress(TutelageError):
            context_tokens(read_config(str(folder)))

    return Target([(folder / "config.json").read_bytes()], read, json_from=0)


def tokenizer_config(folder: Path) -> Target:
    """`tokenizer_config.json` of a model."""
    from tutelage.models import read_tokenizer

    _model(folder)
    path = folder / "tokenizer_config.json"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(TutelageError):
            read_tokenizer(str(folder))

    return Target([path.read_bytes()], read, json_from=0)


def safetensors(folder: Path) -> Target:
    """The header of a safetensors file."""
    import numpy as np
    from safetensors.numpy import save

    from tutelage.models.headers import safetensors_shapes

    path = folder / "model.safetensors"
    some = {"a.weight": np.zeros((2, 3), np.float32), "b": np.zeros(4, np.float16)}

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(TutelageError):
            safetensors_shapes(path)

    return Target([save(some), save(some, {"format": "pt"})], read)


def gguf(folder: Path) -> Target:
    """The header of a GGUF file, by our own reader and then by the library's."""
    from tests.models.gguf_files import write_gguf

    from tutelage.models.headers import gguf_shapes

    path = folder / "model.gguf"
    seeds = [write_gguf(path, name).read_bytes()[:3000] for name in ("llama", "qwen2")]

    def read(content: bytes) -> None:
        path.write_bytes(content)
        with suppress(TutelageError):
            gguf_shapes(path)

    return Target(seeds, read)


def recorded(folder: Path) -> Target:
    """Answers that somebody recorded: tables, logs of decisions, output of batches."""
    from tutelage.teachers.recorded.reading import read_recorded

    path = folder / "answers.jsonl"
    asked = {
        "model": "m",
        "input": "a text",
        "questions": [{"type": "choice", "choices": [{"value": "a"}, {"value": "b"}]}],
    }
    said = {
        "model": "m",
        "answers": [
            {
                "type": "choice",
                "choice": "a",
                "probabilities": [
                    {"value": "a", "probability": 0.75},
                    {"value": "b", "probability": 0.25},
                ],
            }
        ],
    }
    chat = {"choices": [{"message": {"role": "assistant", "content": "a"}}]}
    rows: list[dict[str, Any]] = [
        {"text": "a text", "a": 0.5, "b": 0.5},
        {"text": "a text", "probs": {"a": 0.5, "b": 0.5}},
        {"text": "a text", "votes": {"a": 3, "b": 1}},
        {"text": "a text", "label": "a"},
        {"request": asked, "response": said},
        {"request": json.dumps(asked), "response": json.dumps(said)},
        {"request": {"messages": [{"role": "user", "content": "a text"}]}, "response": chat},
        {"text": "a text", "response": {"status_code": 200, "body": said}},
    ]

    def read(content: bytes) -> None:
        path.write_bytes(content)
        for labels in (None, ("a", "b")):
            with suppress(TutelageError):
                read_recorded(path, labels)

    return Target([(json.dumps(row) + "\n").encode() for row in rows], read, json_from=0)


def bundle(folder: Path) -> Target:
    """`student.json` of an exported student, whose version is what it now should be."""
    from tests.runtime.conftest import TEXTS
    from tests.runtime.tiny_bundles import write_tokens

    from tutelage.students.vocabulary.training import train_tokenizer
    from tutelage_runtime.bundle import BundleError, read_bundle, version_of
    from tutelage_runtime.encoding import encoder

    trained = train_tokenizer(TEXTS, kind="wordpiece", vocabulary_size=120).backend_tokenizer
    path = write_tokens(folder / "student", trained) / "student.json"

    def read(content: bytes) -> None:
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            values = json.loads(content)
            values["version"] = version_of(values)
            content = json.dumps(values).encode()
        path.write_bytes(content)
        with suppress(BundleError):
            encoder(read_bundle(path.parent))(["a text"])

    return Target([path.read_bytes()], read, json_from=0)


def certificate(folder: Path) -> Target:
    """`certificate.json`, whose sum is what it now should be, and `current.json` of releases."""
    import numpy as np
    from tests.cascade import world

    from tutelage_runtime.certificate import CertificateError, certificate_sum, read_certificate
    from tutelage_runtime.releases import ReleaseError, history, resolved

    one = world.certificate()
    names = (
        "student", "labels", "against", "over", "disagreement", "confidence", "rows", "thresholds",
        "coverage", "disagreed", "bound", "audit",
    )  # fmt: skip
    told: dict[str, Any] = {name: getattr(one, name) for name in names}
    told |= {"format": 1, "score": {"weights": [0.5, 1, 2, 3]}, "novelty": None}
    release = {"version": "00" * 8, "since": "2026-01-01T00:00:00Z", "why": "promoted"}
    released = {"format": 1, "releases": [release, release | {"version": "11" * 8}]}

    def read(content: bytes) -> None:
        (folder / "current.json").write_bytes(content)
        with suppress(ReleaseError):
            history(folder)
            resolved(folder)
        with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
            values = json.loads(content)
            values["sum"] = certificate_sum(values)
            content = json.dumps(values).encode()
        (folder / "certificate.json").write_bytes(content)
        with suppress(CertificateError):
            found = read_certificate(folder)
            found.sure(np.full((1, len(found.labels)), 0.5), np.ones((1, 2)))

    said = [json.dumps(one).encode() for one in (told, released)]
    return Target(said, read, json_from=0)


def novelty(folder: Path) -> Target:
    """`novelty.npz`."""
    import numpy as np

    from tutelage_runtime.novelty import Novelty, novelty_bytes, read_novelty

    gate = Novelty(np.eye(3, dtype=np.float32), 2, 0.5)

    def read(content: bytes) -> None:
        with suppress(ValueError):
            read_novelty(content).distances(np.ones((1, 3)))

    return Target([novelty_bytes(gate)], read)


def server(folder: Path) -> Target:
    """Bodies of requests; the first byte says of which path."""
    from tests.hostile.in_process import PATHS, Served, good

    served = Served()

    def read(content: bytes) -> None:
        path = PATHS[content[0] % len(PATHS)] if content else PATHS[0]
        status, _ = served.ask(path, content[1:])
        assert status < 500, served.errors

    bodies = [good(path) for path in PATHS]
    seeds = [bytes([at]) + json.dumps(one).encode() for at, one in enumerate(bodies)]
    return Target(seeds, read, json_from=1)


TARGETS: dict[str, Callable[[Path], Target]] = {
    "recipe": recipe,
    "csv": _rows("rows.csv", [_CSV, _CSV.replace(b"\n", b"\r\n"), _CSV.decode().encode("utf-16")]),
    "jsonl": _rows("rows.jsonl", [_JSONL]),
    "parquet": parquet,
    "manifest": manifest,
    "part": part,
    "model_config": model_config,
    "tokenizer_config": tokenizer_config,
    "safetensors": safetensors,
    "gguf": gguf,
    "recorded": recorded,
    "bundle": bundle,
    "certificate": certificate,
    "novelty": novelty,
    "server": server,
}
"""By name."""
