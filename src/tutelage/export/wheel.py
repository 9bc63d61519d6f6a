"""An exported student as a Python package: `pip install` it, `import` it, ask it.

In: the folder of an export to ONNX. Out: one wheel with the student, what of `tutelage_runtime` it
needs, as a part of its own package, and a command. It needs numpy, onnxruntime and tokenizers, and
nothing of tutelage. The same folder gives the same bytes.

Source: the binary distribution format, https://packaging.python.org/en/latest/specifications/
binary-distribution-format/.
"""

from __future__ import annotations

import base64
import hashlib
import json
import keyword
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tutelage.errors import ModelError
from tutelage.export.card import CARD, card
from tutelage.runs import replacing
from tutelage_runtime.bundle import STUDENT, Bundle, BundleError, read_bundle

if TYPE_CHECKING:
    from tutelage.export.subject import Package, Subject

REQUIRES = ("numpy>=2.0", "onnxruntime>=1.20", "tokenizers>=0.21")
"""As the runtime's own distribution has them, see `runtime/pyproject.toml`."""
REQUIRES_PYTHON = ">=3.11"
MODULES = (
    "bundle", "encoding", "ngrams", "predicting", "session", "student", "terminal", "tokens",
)  # fmt: skip
"""Of `tutelage_runtime`, that answering takes."""
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest that a zip file knows: files have no date of their own."""


def write(subject: Subject, out: Path) -> Mapping[str, Any]:
    """Fill a folder with the wheel of a student in float32, see `export.export`."""
    from tutelage.export.bundles import write_onnx

    return _write(subject, out, write_onnx)


def write_int8(subject: Subject, out: Path) -> Mapping[str, Any]:
    """Fill a folder with the wheel of a student in int8, see `export.export`."""
    from tutelage.export.bundles import write_int8

    return _write(subject, out, write_int8)


def _write(
    subject: Subject, out: Path, make: Callable[[Subject, Path], Mapping[str, Any]]
) -> Mapping[str, Any]:
    """The wheel, and beside it what its export was found to be and its model card."""
    from tutelage.export.bundles import PARITY

    exported = out / "exported"
    exported.mkdir()
    facts = make(subject, exported)
    run = subject.origin.run.get("name")
    name, version = subject.package.name, subject.package.version
    if name is None:
        name = package_name(f"{run} {subject.name}" if run else subject.name)
    else:
        name = import_name(name)
    values = json.loads((exported / STUDENT).read_text("utf-8"))
    described = card({**values, "run": subject.origin.run, "package": name})
    (exported / CARD).write_text(described, "utf-8")
    wheel = write_wheel(exported, out, name=name, version=version)
    for file in (PARITY, CARD):
        (exported / file).replace(out / file)
    shutil.rmtree(exported)
    return {**facts, "package": name, "wheel": wheel.name, "wheel_bytes": wheel.stat().st_size}


def write_wheel(
    exported: Path, folder: Path, *, name: str | None = None, version: str | None = None
) -> Path:
    """Write the wheel of an exported student.

    Args:
        exported: As `tutelage export --format onnx` or `onnx_int8` wrote it.
        folder: Where the wheel goes.
        name: Of the package, and of its command; None: the student's own name.
        version: None: `1.0+s` and the version of the student's content, so that another content is
            another version.

    Returns:
        The wheel, `NAME-VERSION-py3-none-any.whl`.

    Raises:
        ModelError: The folder holds no exported student, or the name or version is none.
    """
    try:
        bundle = read_bundle(exported)
    except BundleError as error:
        raise ModelError(str(error)) from None
    name = package_name(bundle.name if name is None else name)
    version = _version(f"1.0+s{bundle.version}" if version is None else version)
    files = {
        f"{name}/student/{one}": (exported / one).read_bytes() for one in (STUDENT, *bundle.files)
    }
    files |= _package(name, bundle) | _runtime(name)
    files |= _metadata(name, version, bundle, description=exported / CARD)
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with replacing(wheel) as beside:
        _pack(beside, files, record=f"{name}-{version}.dist-info/RECORD")
    return wheel


def package_name(words: str) -> str:
    """What a package is called that somebody names so.

    Raises:
        ModelError: There is no letter or digit in it.

    Example:
        >>> package_name("Reviews LSTM-2"), package_name("json")
        ('reviews_lstm_2', 'student_json')
    """
    name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
    if not name:
        raise ModelError(f"{words!r} cannot be the name of a package: give letters or digits")
    taken = {re.split("[<>=]", one)[0] for one in REQUIRES} | set(sys.stdlib_module_names)
    taken |= {"tutelage", "tutelage_runtime", *keyword.kwlist}
    return f"student_{name}" if name in taken or name[0].isdigit() else name


def require_package(package: Package) -> None:
    """Refuse a name or version that pip or Python could not use, before any work.

    Raises:
        ModelError: It is none.
    """
    if package.name is not None:
        import_name(package.name)
    if package.version is not None:
        _version(package.version)


def import_name(name: str) -> str:
    """What Python imports of a package that pip is to know by this name, which is taken as given.

    Raises:
        ModelError: pip takes no such name, Python cannot import it, or something else has it.

    Example:
        >>> import_name("acme-sentiment")
        'acme_sentiment'

    Source: https://packaging.python.org/en/latest/specifications/name-normalization/.
    """
    if not re.fullmatch(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?", name, re.IGNORECASE | re.ASCII):
        raise ModelError(
            f"{name!r} is no name of a package: give ASCII letters, digits, and - _ . between them"
        )
    found = re.sub(r"[-_.]+", "_", name.lower())
    if package_name(found) != found:
        raise ModelError(
            f"{name!r} begins with a digit or is the name of something else that Python has: give "
            f"another, such as {package_name(found).replace('_', '-')}"
        )
    return found


def _version(text: str) -> str:
    from packaging.version import InvalidVersion, Version

    try:
        return str(Version(text))
    except InvalidVersion:
        raise ModelError(
            f"{text!r} is no version of a package: give one such as 1.0 or 2026.11"
        ) from None


def _package(name: str, bundle: Bundle) -> dict[str, bytes]:
    """The package's own modules, and the notice of what they came from."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("tutelage.export", "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    labels = tuple(bundle.question.labels)
    files = {f"{name}/py.typed": b""}
    for module in ("__init__", "__main__"):
        text = environment.get_template(f"{module}.py.j2").render(name=name, labels=labels)
        files[f"{name}/{module}.py"] = text.encode()
    return files


def _runtime(name: str) -> dict[str, bytes]:
    """The modules that answer, under the package's name."""
    source = resources.files("tutelage_runtime")
    files = {
        f"{name}/runtime/__init__.py": b'"""Out of tutelage_runtime, see LICENSE beside."""\n',
        f"{name}/runtime/LICENSE": (source / "LICENSE").read_bytes(),
    }
    for module in MODULES:
        text = (source / f"{module}.py").read_text("utf-8")
        text = re.sub(r"\btutelage_runtime\b", f"{name}.runtime", text)
        files[f"{name}/runtime/{module}.py"] = text.encode()
    return files


def _metadata(name: str, version: str, bundle: Bundle, *, description: Path) -> dict[str, bytes]:
    """What pip reads; the model card is the description."""
    shown = name.replace("_", "-")
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {shown}",
        f"Version: {version}",
        f"Summary: Text classifier, {len(bundle.question.labels)} classes, by tutelage",
        f"Requires-Python: {REQUIRES_PYTHON}",
        *(f"Requires-Dist: {one}" for one in REQUIRES),
    ]
    if description.is_file():
        described = re.sub(
            r"\A---\n.*?\n---\n", "", description.read_text("utf-8"), flags=re.DOTALL
        )
        lines += ["Description-Content-Type: text/markdown", "", described.lstrip()]
    wheel = ["Wheel-Version: 1.0", "Generator: tutelage", "Root-Is-Purelib: true"]
    texts = {
        "METADATA": "\n".join([*lines, ""]),
        "WHEEL": "\n".join([*wheel, "Tag: py3-none-any", ""]),
        "entry_points.txt": f"[console_scripts]\n{shown} = {name}.__main__:main\n",
    }
    return {f"{name}-{version}.dist-info/{file}": text.encode() for file, text in texts.items()}


def _pack(path: Path, files: Mapping[str, bytes], *, record: str) -> None:
    """A zip file of files in order, and of their sums."""
    lines = []
    for name in sorted(files):
        digest = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=")
        lines.append(f"{name},sha256={digest.decode()},{len(files[name])}\n")
    content = "".join([*lines, f"{record},,\n"]).encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in [*sorted(files.items()), (record, content)]:
            entry = zipfile.ZipInfo(name, _FIRST_DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # as on any Unix
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, value)
