"""Examples: read, checked, split, made more of.

Comes in: data files. Goes out: lists of `Example` that are known to be usable, or every problem with its file and row.
Only `data.collate` needs torch, so it is not imported here.
"""

from tutelage.data.augmentation import augment
from tutelage.data.preparation import Prepared, prepare
from tutelage.data.splits import split
from tutelage.data.tables import Table, read_examples, read_table
from tutelage.data.validation import validate

__all__ = ["Prepared", "Table", "augment", "prepare", "read_examples", "read_table", "split", "validate"]
