"""Soft targets on disk: a folder of Parquet parts and a manifest, keyed by content, checksummed, resumable."""

from tutelage.targets.checking import inspect, verify
from tutelage.targets.encoding import ClassProbabilities, TargetEncoder
from tutelage.targets.manifest import FORMAT, Manifest, Part, read_manifest
from tutelage.targets.reader import TargetStore
from tutelage.targets.writer import TargetWriter

__all__ = [
    "FORMAT",
    "ClassProbabilities",
    "Manifest",
    "Part",
    "TargetEncoder",
    "TargetStore",
    "TargetWriter",
    "inspect",
    "read_manifest",
    "verify",
]
