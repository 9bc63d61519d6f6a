"""The public surface: names, what importing costs and leaves alone, and that transformers knows the
recurrent students once it is told."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import tutelage

NAMES = [
    "Example",
    "ForwardKL",
    "__version__",
    "distill",
    "label",
    "load_recipe",
    "losses",
    "metrics",
    "read_examples",
    "register",
    "students",
    "targets",
    "teachers",
]
STUDENT_NAMES = [
    "Linear",
    "OutputLayer",
    "PooledConfig",
    "PooledForSequenceClassification",
    "Predictor",
    "Pretrained",
    "PrunedClassifier",
    "RNN",
    "RecurrentConfig",
    "RecurrentForCausalLM",
    "RecurrentForSequenceClassification",
    "RecurrentLanguageConfig",
    "Static",
    "TeacherView",
    "Transformer",
    "VocabularyMap",
    "add_lora",
    "build_language_rnn",
    "build_language_transformer",
    "build_rnn",
    "build_transformer",
    "final_states",
    "language_embeddings",
    "language_parameters",
    "load_classifier",
    "load_language_student",
    "load_pretrained",
    "merge_lora",
    "needed_ids",
    "output_layer",
    "packs",
    "plan_pruning",
    "prune",
    "prune_classifier",
    "save",
    "save_model",
    "set_embeddings",
    "set_language_embeddings",
    "teacher_embeddings",
    "train_tokenizer",
    "trim_tokenizer",
    "trim_vocabulary",
]


def python(code: str) -> str:
    """What a fresh interpreter prints, warnings being errors."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_names_of_tutelage():
    assert sorted(tutelage.__all__) == NAMES
    assert set(NAMES) <= set(dir(tutelage))


def test_names_of_students():
    assert sorted(tutelage.students.__all__) == STUDENT_NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_name_resolves(name):
    assert getattr(tutelage, name) is not None


def test_names_lead_where_they_say():
    assert tutelage.label is tutelage.teachers.label
    assert callable(tutelage.label)
    assert tutelage.ForwardKL is tutelage.losses.ForwardKL
    assert isinstance(tutelage.teachers.Classifier, type)


@pytest.mark.parametrize("name", STUDENT_NAMES)
def test_every_student_name_resolves(name):
    assert callable(getattr(tutelage.students, name))


@pytest.mark.parametrize("room", ["students", "models"])
def test_no_name_of_a_room_is_that_of_a_file(room):
    """Importing such a file would put the module in the place of what it holds."""
    module = importlib.import_module(f"tutelage.{room}")
    files = {path.stem for path in Path(module.__file__).parent.iterdir()}
    assert len(files) > 4
    assert files & set(module.__all__) == set()
    assert all(getattr(module, name) is not None for name in module.__all__)


def test_an_unknown_name_lists_the_public_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'distil'; public names: .*distill"):
        _ = tutelage.distil


def test_importing_is_silent_and_brings_no_large_package():
    code = "import sys, tutelage; print(sorted({'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)))"
    assert python(code) == "[]\n"


def test_importing_is_quick():
    # Not wall time: the machine may be busy with other things.
    code = "import time; s = time.process_time(); import tutelage; print(time.process_time() - s)"
    assert min(float(python(code)) for _ in range(5)) < 0.03


def test_importing_changes_nothing_outside_the_package():
    code = (
        "import sys; before = list(sys.meta_path), list(sys.path_hooks), list(sys.path)\n"
        "import tutelage\n"
        "assert (list(sys.meta_path), list(sys.path_hooks), list(sys.path)) == before\n"
        "assert not any(name.startswith('tutelage.') for name in sys.modules)\n"
        "import tutelage.students, tutelage.models, transformers\n"
        "try: transformers.AutoConfig.for_model('tutelage_rnn')\n"
        "except ValueError: print('unknown')\n"
        "tutelage.register()\n"
        "tutelage.register()\n"
        "print(type(transformers.AutoConfig.for_model('tutelage_rnn')).__name__)\n"
    )
    assert python(code).split() == ["unknown", "RecurrentConfig"]


def test_the_configurations_need_no_torch():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import tutelage; tutelage.register()\n"
        "from tutelage.students import RecurrentConfig, RecurrentLanguageConfig\n"
        "from transformers import AutoConfig\n"
        "assert type(AutoConfig.for_model('tutelage_rnn')) is RecurrentConfig\n"
        "assert type(AutoConfig.for_model('tutelage_recurrent_lm')) is RecurrentLanguageConfig\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
