"""Runs: folders, stages and locks, fingerprints and seeds, provenance, metrics.jsonl. Nothing here
needs torch.
"""

from tutelage.runs.files import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    cache_folder,
    sync_folder,
)
from tutelage.runs.fingerprints import fingerprint, fingerprint_file, seed_sequence
from tutelage.runs.finished import Finished, recall_finished, remember_finished
from tutelage.runs.folder import RunFolder, Stage, describe_changes, find_stages, open_run
from tutelage.runs.locks import LOCK_FILE, lock
from tutelage.runs.metrics_log import MetricsLog
from tutelage.runs.provenance import provenance

__all__ = [
    "LOCK_FILE",
    "Finished",
    "MetricsLog",
    "RunFolder",
    "Stage",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "cache_folder",
    "describe_changes",
    "find_stages",
    "fingerprint",
    "fingerprint_file",
    "lock",
    "open_run",
    "provenance",
    "recall_finished",
    "remember_finished",
    "seed_sequence",
    "sync_folder",
]
