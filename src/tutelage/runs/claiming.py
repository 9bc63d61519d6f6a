"""The folder of a run, chosen and locked in one step: what another process finished in between is
never written over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tutelage.errors import RunExists
from tutelage.runs.files import remove_unfinished
from tutelage.runs.folder import RunFolder, open_run
from tutelage.runs.locks import lock
from tutelage.runs.storage import storing

_PATIENCE_SECONDS = 30.0
"""For another process to say whose a folder is that it has locked: its first write."""
_PAUSE_SECONDS = 0.05


@contextmanager
def claim_run(
    root: Path, name: str, recipe_text: str, *, out: Path | None = None
) -> Iterator[RunFolder]:
    """Choose the folder of a run, as `open_run` does, and keep it to this process.

    Whose a folder is, is looked at again once nobody else can write there. Whoever claims a folder
    writes its recipe first, for other processes wait for that to see whether it is theirs too.

    Args:
        root: Where runs lie.
        name: The recipe's name.
        recipe_text: The resolved recipe as it will stand in recipe.yaml.
        out: The folder the person asked for.

    Yields:
        A folder that is free or belongs to this recipe, locked. Errors of the file system inside
        become `StorageError`.

    Raises:
        RunExists: `out` belongs to another recipe or holds other things, or another process is
            writing the folder for this very recipe.
        StorageError: The folder cannot be made or written.
    """
    patience = time.monotonic() + _PATIENCE_SECONDS
    with ExitStack() as held:
        folder, is_ours = open_run(root, name, recipe_text, out=out), False
        missing = [one for one in (folder.path, *folder.path.parents) if not one.exists()]
        while not is_ours:
            chosen = folder
            try:
                held.enter_context(lock(chosen.path))
            except RunExists:
                is_told = chosen.recipe_path.exists()
                folder = open_run(root, name, recipe_text, out=out)
                if folder == chosen and (is_told or time.monotonic() > patience):
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                folder = open_run(root, name, recipe_text, out=out)
                if not (is_ours := folder == chosen):
                    held.close()
        try:
            with storing(folder.path):
                remove_unfinished(folder.path)
                yield folder
        finally:
            held.close()
            # Nothing was written, for want of room: no empty folder is left.
            with suppress(OSError):
                for one in missing:
                    one.rmdir()
