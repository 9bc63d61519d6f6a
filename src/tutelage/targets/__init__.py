"""Soft targets on disk: a folder of Parquet parts and a manifest, keyed by content, checksummed,
resumable.
"""

from tutelage.targets.checking import export_jsonl, inspect, jsonl_lines, verify
from tutelage.targets.classes import ClassProbabilities
from tutelage.targets.encoding import STORE_KINDS, TargetEncoder
from tutelage.targets.manifest import FORMAT, Manifest, Part, read_manifest
from tutelage.targets.merging import merge
from tutelage.targets.output_matrix import OutputMatrix, read_output_matrix, write_output_matrix
from tutelage.targets.reader import TargetStore
from tutelage.targets.resuming import refuse_other_store
from tutelage.targets.rows import HiddenTargets, SparseTargets
from tutelage.targets.writer import TargetWriter

__all__ = [
    "FORMAT",
    "STORE_KINDS",
    "ClassProbabilities",
    "HiddenTargets",
    "Manifest",
    "OutputMatrix",
    "Part",
    "SparseTargets",
    "TargetEncoder",
    "TargetStore",
    "TargetWriter",
    "export_jsonl",
    "inspect",
    "jsonl_lines",
    "merge",
    "read_manifest",
    "read_output_matrix",
    "refuse_other_store",
    "verify",
    "write_output_matrix",
]
