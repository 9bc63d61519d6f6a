"""Recipes: from a YAML file to frozen objects, every problem reported at once with its line.

Comes in: the path of a recipe and `--set` overrides. Goes out: a `Recipe`, or a `RecipeError` with all that is wrong.
No torch here, and no data or model file is opened.
"""

from tutelage.config.loading import load_recipe
from tutelage.config.recipe import Recipe, schema
from tutelage.config.sections import Augmentation, Data, Evaluate, Objective, Schedule, Targets, Task, Train
from tutelage.config.students import PretrainedSpec, RecurrentSpec, Student, TokenizerSpec, TransformerSpec
from tutelage.config.teachers import (
    ClassifierTeacherSpec,
    Fit,
    FullFit,
    HeadFit,
    LoraFit,
    NoFit,
    PromptedTeacherSpec,
    Teacher,
)
from tutelage.config.template import TEMPLATE
from tutelage.config.writing import dump_recipe

__all__ = [
    "TEMPLATE",
    "Augmentation",
    "ClassifierTeacherSpec",
    "Data",
    "Evaluate",
    "Fit",
    "FullFit",
    "HeadFit",
    "LoraFit",
    "NoFit",
    "Objective",
    "PretrainedSpec",
    "PromptedTeacherSpec",
    "Recipe",
    "RecurrentSpec",
    "Schedule",
    "Student",
    "Targets",
    "Task",
    "Teacher",
    "TokenizerSpec",
    "Train",
    "TransformerSpec",
    "dump_recipe",
    "load_recipe",
    "schema",
]
