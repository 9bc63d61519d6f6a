"""Examples and documents: read, checked, split, made more of.

Comes in: data files. Goes out: lists of `Example` or `Document` that are known to be usable, or
every problem with its file and row. Documents are arrays, so what makes them is imported when it is
first asked for; `data.collate` needs torch and is imported by its full name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tutelage.data.augmentation import augment
from tutelage.data.preparation import Prepared, prepare
from tutelage.data.splits import split
from tutelage.data.tables import Table, read_examples, read_table
from tutelage.data.validation import check_parts

if TYPE_CHECKING:
    from tutelage.data.document_preparation import (
        PreparedDocuments,
        prepare_documents,
        split_documents,
    )
    from tutelage.data.documents import DocumentTable, read_document_table, read_documents
    from tutelage.data.packing import micro_batches, pack
    from tutelage.data.rendering import Columns

__all__ = [
    "Columns",
    "DocumentTable",
    "Prepared",
    "PreparedDocuments",
    "Table",
    "augment",
    "check_parts",
    "micro_batches",
    "pack",
    "prepare",
    "prepare_documents",
    "read_document_table",
    "read_documents",
    "read_examples",
    "read_table",
    "split",
    "split_documents",
]

_WITH_ARRAYS = {
    "Columns": "tutelage.data.rendering",
    "DocumentTable": "tutelage.data.documents",
    "PreparedDocuments": "tutelage.data.document_preparation",
    "micro_batches": "tutelage.data.packing",
    "pack": "tutelage.data.packing",
    "prepare_documents": "tutelage.data.document_preparation",
    "read_document_table": "tutelage.data.documents",
    "read_documents": "tutelage.data.documents",
    "split_documents": "tutelage.data.document_preparation",
}


def __getattr__(name: str) -> Any:
    """A name that needs numpy, imported when it is first asked for."""
    if name not in _WITH_ARRAYS:
        raise AttributeError(f"module 'tutelage.data' has no attribute {name!r}")
    return getattr(importlib.import_module(_WITH_ARRAYS[name]), name)
