"""Exported students for tests: a table of vectors, their mean, one layer, for each sort of inputs."""

import hashlib
import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tutelage_runtime.bundle import version_of

LABELS = ["no", "perhaps", "yes"]


def node(kind, inputs, output, **more):
    return helper.make_node(kind, inputs, [output], **more)


def graph_bytes(inputs, *, rows, weights=None):
    """A graph whose features are the mean of the vectors of what counts; sums for n-grams.

    Weights are table, matrix and bias; random ones where none are given.
    """
    draw = np.random.default_rng(0).normal
    weights = weights or (draw(size=(rows, 4)), draw(size=(4, 3)), draw(size=3))
    size, classes = weights[1].shape
    constants = {
        **dict(zip(("table", "weight", "bias"), (np.float32(w) for w in weights), strict=True)),
        "last": np.array([2]),
        "middle": np.array([1]),
        "one": np.array(1, np.float32),
    }
    ids, mask = ("input_ids", "attention_mask") if inputs == "tokens" else ("rows", "mask")
    mask_type = TensorProto.INT64 if inputs == "tokens" else TensorProto.FLOAT
    given = [
        helper.make_tensor_value_info(ids, TensorProto.INT64, ["B", "T"]),
        helper.make_tensor_value_info(mask, mask_type, ["B", "T"]),
    ]
    nodes = [
        node("Gather", ["table", ids], "vectors"),
        node("Cast", [mask], "counted", to=TensorProto.FLOAT),
        node("Unsqueeze", ["counted", "last"], "wide"),
        node("Mul", ["vectors", "wide"], "kept"),
        node("ReduceSum", ["kept", "middle"], "sums", keepdims=0),
    ]
    if inputs == "ngrams":
        given.append(helper.make_tensor_value_info("scale", TensorProto.FLOAT, ["B", 1]))
        nodes.append(node("Mul", ["sums", "scale"], "features"))
    else:
        nodes += [
            node("ReduceSum", ["counted", "middle"], "number", keepdims=1),
            node("Max", ["number", "one"], "divisor"),
            node("Div", ["sums", "divisor"], "features"),
        ]
    nodes += [
        node("MatMul", ["features", "weight"], "product"),
        node("Add", ["product", "bias"], "logits"),
    ]
    told = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", classes]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", size]),
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "tiny", given, told, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def describe(folder, **more):
    """Write `student.json` for what lies in a folder."""
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
        if path.name != "student.json"
    }
    question = {"labels": LABELS, "descriptions": {"yes": "It is so."}, "instructions": None}
    values = {
        "format": 1,
        "name": "tiny",
        "format_name": "onnx",
        "inputs": "tokens",
        "question": question,
        "temperature": 1.0,
        "max_length": 16,
        "pad_id": 0,
        "files": files,
        "facts": {},
    } | more
    values["version"] = version_of(values)
    (folder / "student.json").write_text(json.dumps(values), "utf-8")
    return folder


def write_tokens(folder, tokenizer, *, pairs=None, weights=None, **more):
    """A bundle that reads tokens of a tokenizer of the tokenizers library; with pairs also those."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), "utf-8")
    inputs, rows = "tokens", tokenizer.get_vocab_size()
    if pairs is not None:
        inputs, rows = "rows", rows + len(pairs)
        np.save(folder / "pairs.npy", np.array(pairs, np.int64).reshape(-1, 3))
    (folder / "model.onnx").write_bytes(graph_bytes(inputs, rows=rows, weights=weights))
    return describe(folder, inputs=inputs, **more)


def write_ngrams(folder, ngrams, *, weights=None, **more):
    """A bundle that reads n-grams."""
    folder.mkdir(parents=True, exist_ok=True)
    names = ("words", "characters", "longest_words", "longest_characters", "lowercase")
    values = {name: getattr(ngrams, name) for name in names}
    (folder / "ngrams.json").write_text(json.dumps(values), "utf-8")
    graph = graph_bytes("ngrams", rows=len(ngrams), weights=weights)
    (folder / "model.onnx").write_bytes(graph)
    return describe(folder, inputs="ngrams", max_length=ngrams.max_length, **more)
