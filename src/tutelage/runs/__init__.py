"""Runs: folders, stages and locks, fingerprints and seeds, provenance, metrics.jsonl. Nothing here
needs torch.
"""

from tutelage.runs.claiming import claim_run
from tutelage.runs.endings import Finished, recall_finished, remember_finished
from tutelage.runs.files import (
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    cache_folder,
    place_for,
    replacing,
    settle_folder,
    sync_folder,
)
from tutelage.runs.fingerprints import fingerprint, fingerprint_file, seed_sequence
from tutelage.runs.folder import (
    RunFolder,
    describe_changes,
    find_stages,
    open_run,
    restore_recipe,
)
from tutelage.runs.locks import LOCK_FILE, lock
from tutelage.runs.metrics_log import MetricsLog
from tutelage.runs.provenance import provenance, total_memory_bytes
from tutelage.runs.reading import MOST_JSON_BYTES, open_regular, parse_json, read_json
from tutelage.runs.records import Stage, recorded, require_undamaged
from tutelage.runs.storage import storing

__all__ = [
    "LOCK_FILE",
    "MOST_JSON_BYTES",
    "Finished",
    "MetricsLog",
    "RunFolder",
    "Stage",
    "atomic_write_bytes",
    "atomic_write_json",
    "atomic_write_text",
    "cache_folder",
    "claim_run",
    "describe_changes",
    "find_stages",
    "fingerprint",
    "fingerprint_file",
    "lock",
    "open_regular",
    "open_run",
    "parse_json",
    "place_for",
    "provenance",
    "read_json",
    "recall_finished",
    "recorded",
    "remember_finished",
    "replacing",
    "require_undamaged",
    "restore_recipe",
    "seed_sequence",
    "settle_folder",
    "storing",
    "sync_folder",
    "total_memory_bytes",
]
