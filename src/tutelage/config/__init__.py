"""Recipes: from a YAML file to frozen objects, every problem reported at once with its line.

Comes in: the path of a recipe and `--set` overrides. Goes out: a `Recipe` or `LanguageRecipe`, by the kind of its task,
or a `RecipeError` with all that is wrong.
No torch here, and no data or model file is opened.
"""

from tutelage.config.language_recipe import LanguageRecipe
from tutelage.config.language_sections import (
    CausalTeacherSpec,
    HiddenTargetsSpec,
    LanguageData,
    LanguageEvaluate,
    LanguageObjective,
    LanguageSchedule,
    LanguageTask,
    LanguageTrain,
    LiveTargetsSpec,
    SampledTargetsSpec,
    TokenTargets,
    TopKTargetsSpec,
)
from tutelage.config.language_students import (
    LanguagePretrainedSpec,
    LanguageRecurrentSpec,
    LanguageStudent,
    LanguageTransformerSpec,
    LoraSpec,
    PrunedSpec,
)
from tutelage.config.loading import load_recipe
from tutelage.config.recipe import Recipe
from tutelage.config.schema import schema
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
from tutelage.config.template import LANGUAGE_TEMPLATE, TEMPLATE
from tutelage.config.writing import dump_recipe

__all__ = [
    "LANGUAGE_TEMPLATE",
    "TEMPLATE",
    "Augmentation",
    "CausalTeacherSpec",
    "ClassifierTeacherSpec",
    "Data",
    "Evaluate",
    "Fit",
    "FullFit",
    "HeadFit",
    "HiddenTargetsSpec",
    "LanguageData",
    "LanguageEvaluate",
    "LanguageObjective",
    "LanguagePretrainedSpec",
    "LanguageRecipe",
    "LanguageRecurrentSpec",
    "LanguageSchedule",
    "LanguageStudent",
    "LanguageTask",
    "LanguageTrain",
    "LanguageTransformerSpec",
    "LiveTargetsSpec",
    "LoraFit",
    "LoraSpec",
    "NoFit",
    "Objective",
    "PretrainedSpec",
    "PromptedTeacherSpec",
    "PrunedSpec",
    "Recipe",
    "RecurrentSpec",
    "SampledTargetsSpec",
    "Schedule",
    "Student",
    "Targets",
    "Task",
    "Teacher",
    "TokenTargets",
    "TokenizerSpec",
    "TopKTargetsSpec",
    "Train",
    "TransformerSpec",
    "dump_recipe",
    "load_recipe",
    "schema",
]
