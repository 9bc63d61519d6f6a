"""Examples and documents: read, checked, split, made more of.

Comes in: data files. Goes out: lists of `Example` (in `examples`) or of `Document` (in `documents`)
that are known to be usable, or every problem with its file and row; what both share stands beside
the two folders. Documents are arrays, so what makes them is imported when it is first asked for;
`data.examples.collate` needs torch and is imported by its full name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tutelage.data.examples.augmentation import augment
from tutelage.data.examples.preparation import Prepared, prepare
from tutelage.data.examples.tables import Table, read_examples, read_table
from tutelage.data.examples.validation import check_parts
from tutelage.data.splits import split

if TYPE_CHECKING:
    from tutelage.data.documents.packing import micro_batches, pack
    from tutelage.data.documents.preparation import (
        PreparedDocuments,
        prepare_documents,
        split_documents,
    )
    from tutelage.data.documents.rendering import Columns
    from tutelage.data.documents.tables import DocumentTable, read_document_table, read_documents

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
    "Columns": "tutelage.data.documents.rendering",
    "DocumentTable": "tutelage.data.documents.tables",
    "PreparedDocuments": "tutelage.data.documents.preparation",
    "micro_batches": "tutelage.data.documents.packing",
    "pack": "tutelage.data.documents.packing",
    "prepare_documents": "tutelage.data.documents.preparation",
    "read_document_table": "tutelage.data.documents.tables",
    "read_documents": "tutelage.data.documents.tables",
    "split_documents": "tutelage.data.documents.preparation",
}


def __getattr__(name: str) -> Any:
    """A name that needs numpy, imported when it is first asked for."""
    if name not in _WITH_ARRAYS:
        raise AttributeError(f"module 'tutelage.data' has no attribute {name!r}")
    return getattr(importlib.import_module(_WITH_ARRAYS[name]), name)
