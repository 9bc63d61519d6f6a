"""Telling transformers about the recurrent students when, and only when, transformers' Auto classes
are imported.

In: nothing. Out: `AutoConfig`, `AutoModelForSequenceClassification` and `AutoModelForCausalLM` know
the students. This runs on `import tutelage`, so it imports next to nothing itself (a ready-made
library of import hooks takes 60 ms).
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    Hook = Callable[[Any], None]


def register_recurrent_student() -> None:
    """Register both models with the Auto classes of transformers: now if these are imported, else
    once they are.
    """
    waiting: dict[str, Hook] = {}
    for name, hook in HOOKS.items():
        if name in sys.modules:
            hook(sys.modules[name])
        else:
            waiting[name] = hook
    if waiting:
        sys.meta_path.insert(0, AfterImport(waiting))


class AfterImport:
    """A finder that finds nothing itself, but calls a function once a module has been imported.

    Args:
        hooks: Module name to the function that is given the module.
    """

    def __init__(self, hooks: Mapping[str, Hook]) -> None:
        self.hooks = dict(hooks)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What the other finders find, with the function behind the execution of the module; None
        for other modules.

        Args:
            name: Of the module that is being imported.
            path: Where its package looks for it.
            target: The module that is being reloaded.

        Returns:
            The specification, or None if there is no function for this module.
        """
        hook = self.hooks.get(name)
        if hook is None:
            return None
        for finder in sys.meta_path:
            found = None if finder is self else finder.find_spec(name, path, target)
            if found is not None:
                break
        else:
            return None
        execute = getattr(found.loader, "exec_module", None)
        if execute is not None:

            def execute_then_tell(module: ModuleType) -> None:
                execute(module)
                hook(module)

            # Every specification has a loader of its own, so nothing else sees this.
            found.loader.exec_module = execute_then_tell  # type: ignore[union-attr]
        return found


def _register_configurations(module: Any) -> None:
    from tutelage.students.classifier.configuration import RecurrentConfig
    from tutelage.students.language.configuration import RecurrentLanguageConfig

    for config in (RecurrentConfig, RecurrentLanguageConfig):
        module.AutoConfig.register(config.model_type, config, exist_ok=True)


def _register_models(module: Any) -> None:
    from importlib.util import find_spec

    # modeling_auto can be imported where torch is not installed; there are no models to register
    # then.
    if find_spec("torch") is None:
        return
    from tutelage.students.classifier.configuration import RecurrentConfig
    from tutelage.students.classifier.rnn import RecurrentForSequenceClassification
    from tutelage.students.language.configuration import RecurrentLanguageConfig
    from tutelage.students.language.rnn import RecurrentForCausalLM

    module.AutoModelForSequenceClassification.register(
        RecurrentConfig, RecurrentForSequenceClassification, exist_ok=True
    )
    module.AutoModelForCausalLM.register(
        RecurrentLanguageConfig, RecurrentForCausalLM, exist_ok=True
    )


HOOKS: dict[str, Hook] = {
    "transformers.models.auto.configuration_auto": _register_configurations,
    "transformers.models.auto.modeling_auto": _register_models,
}
"""Which module of transformers to wait for, and what to do then."""
