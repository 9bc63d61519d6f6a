"""Write the targets of recipes; `die` has process 1 killed half-way. Run under a launcher, or not:
the same units of work, small enough to be several."""

import os
import signal
import sys
from pathlib import Path
from unittest.mock import patch

from tutelage.processes import crew
from tutelage.recipes.loading import load_recipe
from tutelage.recipes.run import run
from tutelage.targets import TargetWriter
from tutelage.teachers import labelling, sharing

TEXTS_AT_ONCE = 16


class Loud:
    def __init__(self, silent: object) -> None:
        self.bar = silent.bar

    def say(self, message: str) -> None:
        print(message, flush=True)


def label(recipe: Path, root: Path) -> None:
    from tutelage.types import SILENT

    with patch.object(labelling, "_ROWS_AT_ONCE", TEXTS_AT_ONCE):
        run(load_recipe(recipe), root=root, until="label", progress=Loud(SILENT))


def die_after(parts: int) -> None:
    """Kill this process once it has closed so many parts."""
    add, done = TargetWriter.add, []

    def add_and_die(self: TargetWriter, *given: object) -> None:
        add(self, *given)
        done.append(1)
        if len(done) == parts:
            os.kill(os.getpid(), signal.SIGKILL)

    TargetWriter.add = add_and_die
    sharing.SECONDS_PER_PART = 0.0


def score(recipe: Path) -> None:
    """Share the reading of test documents, and hold it against reading alone."""
    import numpy as np

    from tutelage.data import PreparedDocuments
    from tutelage.evaluate.tokens.scores import score_models
    from tutelage.tasks.language.data import load_teacher, prepare_language_data, teacher_tokenizer

    loaded = load_recipe(recipe)
    teacher = load_teacher(loaded)
    data: PreparedDocuments = prepare_language_data(loaded, teacher_tokenizer(loaded))
    given = (teacher, {"itself": teacher.language_model.model}, data.test)
    shared = score_models(*given, batch_tokens=96, mine=crew())
    for name, alone in score_models(*given, batch_tokens=96).items():
        for key, values in vars(alone).items():
            if values is not None:
                np.testing.assert_array_equal(vars(shared[name])[key], values)
    print("scores are equal", flush=True)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    root, *recipes = sys.argv[1:]
    if "die" in recipes:
        recipes.remove("die")
        if crew().rank == 1:
            die_after(3)
    if "score" in recipes:
        recipes.remove("score")
        score(Path(recipes[0]))
    for one in recipes:
        label(Path(one), Path(root) / Path(one).parent.name)
