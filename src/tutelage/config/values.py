"""The kinds of value a recipe holds beyond plain numbers and words: names, data files, shares,
model names.

Each is an annotated type whose validator either returns the value in its final form (paths
absolute) or refuses it with a sentence that says what to do. The folder that relative paths start
from comes in as validation context.
"""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    WithJsonSchema,
    model_serializer,
)
from pydantic_core import PydanticCustomError

from tutelage.urls import is_remote, url_objection, url_of

DATA_SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
"""The file formats that can be read as data."""

MOST_NAME = 200
"""Characters of a name; file systems take some 255, and files of ours may add to it."""

_LONGEST_PATH = 4_000

REFUSED = "recipe_refused"
"""The type of validation error whose message is already written for a person."""


class Section(BaseModel):
    """One mapping of a recipe: frozen, with unknown keys and quiet conversions ("10" for 10)
    refused.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True
    )

    spec_class: ClassVar[Any] = None
    """The frozen dataclass that the section was made from, by `config.specs.section`; None: it has
    fields of its own."""

    def spec(self, **more: Any) -> Any:
        """The frozen dataclass that the section was made from, with the section's values.

        Args:
            more: Options that the section does not hold, or holds otherwise.
        """
        return self.spec_class(**{**self.spec_values(), **more})

    def spec_values(self) -> dict[str, Any]:
        """The options of the spec that the section holds, by name; nested sections as specs."""
        names = [option.name for option in fields(self.spec_class) if option.init]
        values = {name: getattr(self, name) for name in names if name in type(self).model_fields}
        return {
            name: value.spec() if isinstance(value, Section) and value.spec_class else value
            for name, value in values.items()
        }


class Overrides(Section):
    """Keys of another section that one student sets for itself; keys that were not given follow
    that section.
    """

    @model_serializer(mode="wrap")
    def _only_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in handler(self).items() if key in self.model_fields_set}

    def given(self) -> dict[str, Any]:
        """The keys that were given, with their values."""
        return {key: getattr(self, key) for key in self.model_fields_set}


def refusal(message: str) -> PydanticCustomError:
    """The error to raise in a validator; the message reaches the person as it is."""
    return PydanticCustomError(REFUSED, "{message}", {"message": message})


def not_yet(values: tuple[str, ...], message: str) -> BeforeValidator:
    """Refuse words that other versions or tasks know, with the reason instead of a bare "not one
    of".
    """

    def check(value: object) -> object:
        if isinstance(value, str) and value in values:
            raise refusal(f"`{value}` {message}")
        return value

    return BeforeValidator(check)


def _absolute(value: str, info: ValidationInfo) -> Path:
    # normpath rather than resolve: a symbolic link keeps its own name, and with it its extension.
    folder = Path((info.context or {}).get("folder", "."))
    if is_remote(value) or (is_remote(folder) and not os.path.isabs(value)):  # noqa: PTH117
        remote = Path(value) if is_remote(value) else folder / value
        if (objection := url_objection(value)) is not None:
            raise refusal(objection)
        return remote
    try:
        path = Path(os.path.normpath((folder / Path(value).expanduser()).absolute()))
    except RuntimeError:  # of a user that there is not
        raise refusal(f"{value}: there is no such home folder; write the path out") from None
    except FileNotFoundError:
        raise refusal(
            f"{value} starts where you stand, a folder that is gone: go to another"
        ) from None
    if re.search("[\x00\ud800-\udfff]", str(path)):
        raise refusal(
            f"{str(path)!r}: a name in it is not UTF-8, or holds a null byte, so no recipe can "
            "name it: rename it, or move the recipe and its data elsewhere"
        )
    if len(bytes(path)) > _LONGEST_PATH or any(len(one.encode()) > 255 for one in path.parts):
        raise refusal(
            f"{path}: no file system has names so long; expected at most 255 bytes a name, and "
            f"{_LONGEST_PATH:,} in all"
        )
    return path


def _data_file(value: object, info: ValidationInfo) -> Path:
    if not isinstance(value, (str, Path)) or not str(value).strip():
        raise refusal(
            f"{value!r} is not a file; expected the path of a csv, tsv, jsonl or parquet file"
        )
    if str(value).startswith("hub:"):
        raise refusal(
            f"{value}: hub: files are not available in this version; download to csv, jsonl, "
            "parquet"
        )
    path = _absolute(str(value), info)
    if path.suffix.lower() not in DATA_SUFFIXES:
        raise refusal(
            f"{value} is not in a format that can be read; expected a file ending in "
            f"{', '.join(DATA_SUFFIXES)}"
        )
    return path


def _answers_path(value: object, info: ValidationInfo) -> Path:
    if isinstance(value, (str, Path)) and str(value).strip():
        path = _absolute(str(value), info)
        if not is_remote(path) and (os.path.isdir(path) or not path.suffix):  # noqa: PTH112
            return path
    return _data_file(value, info)


def _file_or_share(value: object, info: ValidationInfo) -> Path | float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _data_file(value, info)
    if not 0 < value <= 0.5:
        raise refusal(
            f"{value} is not a share of train; expected a number above 0 and at most 0.5, or a file"
        )
    return float(value)


def _data_files(value: object, info: ValidationInfo) -> tuple[Path, ...]:
    values = value if isinstance(value, (list, tuple)) else () if value is None else (value,)
    return tuple(_data_file(one, info) for one in values)


def _model_name(value: str, info: ValidationInfo) -> str:
    if not value.strip():
        raise refusal(
            "the model is empty; expected a folder, a .gguf file, a hub id, or package:NAME"
        )
    if value.startswith("package:"):
        return value
    # A hub id is NAME or OWNER/NAME; anything that only a path can be, or that exists beside the
    # recipe, is a path.
    is_path = value.startswith((".", "/", "~")) or value.endswith(".gguf") or value.count("/") > 1
    # Unlike Path.exists: False where the name is too long, or the folder may not be looked into.
    beside = os.path.join((info.context or {}).get("folder", "."), value)  # noqa: PTH118
    return str(_absolute(value, info)) if is_path or os.path.exists(beside) else value  # noqa: PTH110


def _plain_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", value):
        raise refusal(
            f"the name {value!r} is not usable; expected letters, digits, - and _ (it names a "
            "folder)"
        )
    if len(value) > MOST_NAME:
        raise refusal(
            f"the name {value!r} has {len(value):,} characters; expected at most {MOST_NAME} (it "
            "names a folder)"
        )
    return value


def _has_text_slot(value: str | None) -> str | None:
    if value is not None and "{text}" not in value:
        raise refusal("the template has no {text}; put {text} where the text to classify goes")
    return value


def _words(value: object) -> object:
    return (
        (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value
    )


def _written(path: Any) -> Any:
    return url_of(path) if isinstance(path, Path) and is_remote(path) else path


_FILE_SCHEMA = {"type": "string", "format": "path"}
_AS_GIVEN = PlainSerializer(_written, when_used="json")
"""A path stands in a recipe as it is, a URL with both its slashes."""
_SHARE_SCHEMA = {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5}

DataPath = Annotated[Path, BeforeValidator(_data_file), WithJsonSchema(_FILE_SCHEMA), _AS_GIVEN]
AnswersPath = Annotated[
    Path, BeforeValidator(_answers_path), WithJsonSchema(_FILE_SCHEMA), _AS_GIVEN
]
"""A data file, or a folder such as that of a target store."""
FileOrShare = Annotated[
    Path | float,
    BeforeValidator(_file_or_share),
    WithJsonSchema({"anyOf": [_FILE_SCHEMA, _SHARE_SCHEMA]}),
    _AS_GIVEN,
]
DataPaths = Annotated[
    tuple[Annotated[Path, _AS_GIVEN], ...],
    BeforeValidator(_data_files),
    WithJsonSchema({"anyOf": [_FILE_SCHEMA, {"type": "array", "items": _FILE_SCHEMA}]}),
]
ModelName = Annotated[str, AfterValidator(_model_name)]
PlainName = Annotated[
    str,
    AfterValidator(_plain_name),
    WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9_-]+$", "maxLength": MOST_NAME}),
]
PromptTemplate = Annotated[str | None, AfterValidator(_has_text_slot)]
FrozenList = BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
"""Annotates a tuple field: a YAML list is taken as the tuple it becomes."""
Words = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    BeforeValidator(_words),
    Field(min_length=1),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
            ]
        }
    ),
]
