"""Versions in service: immutable, switched at once, and back again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.cascade.test_process import certify

from tutelage_runtime import releases, releasing
from tutelage_runtime.bundle import BundleError, version_of
from tutelage_runtime.releases import ReleaseError, history, promote, resolved, roll_back, versions
from tutelage_runtime.session import load
from tutelage_runtime.shadowing import Compared, Shadowing, write_record


@pytest.fixture
def two(bundle: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The same student, without and with a certificate."""
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(bundle, first)
    shutil.copytree(bundle, second)
    certify(second, threshold=0.9, share=0.02)
    return first, second


def test_the_current_version_is_what_a_folder_means(two, tmp_path):
    service = tmp_path / "service"
    first = promote(two[0], service)
    assert resolved(service) == service / "versions" / first.version
    assert resolved(two[0]) == two[0]
    assert load(resolved(service)).version == load(two[0]).version
    second = promote(two[1], service)
    assert second.version != first.version
    assert resolved(service).name == second.version
    assert (resolved(service) / "certificate.json").is_file()
    assert versions(service) == sorted([first.version, second.version])


def test_a_certificate_of_another_student_is_not_promoted(two, tmp_path):
    certify(two[1], threshold=0.9, share=0.02, student="ff" * 8)
    with pytest.raises(ReleaseError, match="is of the student ffff"):
        promote(two[1], tmp_path / "service")
    assert not (tmp_path / "service").exists()


def test_one_command_goes_back_and_says_so(two, tmp_path):
    service = tmp_path / "service"
    first, second = promote(two[0], service), promote(two[1], service)
    back = roll_back(service)
    assert back.version == first.version
    assert second.version in back.why
    assert resolved(service).name == first.version
    assert roll_back(service, to=second.version).version == second.version
    assert [one.version for one in history(service)] == [
        first.version,
        second.version,
        first.version,
        second.version,
    ]


def test_a_version_is_not_put_in_service_twice_and_not_after_a_change(two, tmp_path):
    service = tmp_path / "service"
    first = promote(two[0], service)
    with pytest.raises(ReleaseError, match="in service already"):
        promote(two[0], service)
    with pytest.raises(ReleaseError, match="the only version"):
        roll_back(service)
    promote(two[1], service)
    graph = service / "versions" / first.version / "model.onnx"
    graph.write_bytes(graph.read_bytes() + b"x")
    with pytest.raises(ReleaseError, match="cannot be put in service"):
        roll_back(service)
    with pytest.raises(BundleError):
        promote(two[0], service)
    assert history(service)[-1].version != first.version


@pytest.mark.parametrize("version", ["../../etc", "nothing"])
def test_a_version_that_is_none_is_refused(version, two, tmp_path):
    service = tmp_path / "service"
    promote(two[0], service)
    with pytest.raises(ReleaseError, match="is no version here"):
        roll_back(service, to=version)


def test_a_copy_that_was_killed_leaves_what_was_in_service(two, tmp_path, monkeypatch):
    service = tmp_path / "service"
    first = promote(two[0], service)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(releases.shutil, "copyfile", dies)
        with pytest.raises(KeyboardInterrupt):
            promote(two[1], service)
    assert resolved(service).name == first.version
    assert versions(service) == [first.version]
    promote(two[1], service)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"format": 2}',
        '{"format": 1, "releases": [{"version": "../x", "since": "", "why": ""}]}',
    ],
)
def test_what_says_which_one_is_current_may_be_broken(content, tmp_path):
    (tmp_path / "current.json").write_text(content, "utf-8")
    with pytest.raises(ReleaseError, match="cannot be read"):
        resolved(tmp_path)


def test_the_command(two, tmp_path, capsys):
    from tutelage_runtime.__main__ import main

    service = tmp_path / "service"
    assert main(["release", "promote", str(two[0]), str(service)]) == 2
    assert "has no certificate" in capsys.readouterr().err
    assert main(["release", "promote", str(two[0]), str(service), "--uncertified"]) == 0
    assert main(["release", "promote", str(two[1]), str(service)]) == 0
    assert main(["release", "rollback", str(service)]) == 0
    assert main(["release", "list", str(service), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(told["releases"]) == 3
    assert main(["release", "list", str(service)]) == 0
    assert capsys.readouterr().out.count("*") == 1


def test_what_a_candidate_was_seen_to_do_is_said_and_may_be_asked_for(two, tmp_path, capsys):
    service, state = tmp_path / "service", tmp_path / "state"
    words = ["promote", str(two[1]), str(service)]
    assert releasing.main([*words, "--shadowed", "9"]) == 2
    words += ["--shadow", str(state)]
    record = Shadowing(load(two[1]).version, students={"before": Compared(8, 7, 0.8, 8)})
    write_record(state, record)
    assert releasing.main([*words, "--shadowed", "9"]) == 2
    assert "8 answers of" in capsys.readouterr().err
    record.failed = 1
    write_record(state, record)
    assert releasing.main([*words, "--shadowed", "8"]) == 2
    assert "failed at 1 requests" in capsys.readouterr().err
    assert not service.exists()
    record.failed = 0
    write_record(state, record)
    assert releasing.main([*words, "--shadowed", "8"]) == 0
    said = "agrees with the student before on 7 of 8 answers (52.9% to 97.8%, mean distance 0.100)"
    assert said in capsys.readouterr().out


def test_only_what_it_was_compared_with_in_service_now_counts(two, tmp_path, capsys):
    service, state, other = tmp_path / "service", tmp_path / "state", tmp_path / "other"
    shutil.copytree(two[0], other)
    values = json.loads((other / "student.json").read_text("utf-8"))
    values["temperature"] = 2.0
    values["version"] = version_of(values)
    (other / "student.json").write_text(json.dumps(values), "utf-8")
    in_service = promote(other, service)
    version = load(two[1]).version
    assert in_service.student != version
    record = Shadowing(version, students={"before": Compared(99, 99, 0.0, 99)})
    record.upstream = Compared(2, 2)
    record.students[in_service.student] = Compared(5, 5, 0.0, 5)
    write_record(state, record)
    words = ["promote", str(two[1]), str(service), "--shadow", str(state), "--shadowed"]
    assert releasing.main([*words, "8"]) == 2
    assert f"7 answers of {version} were compared with" in capsys.readouterr().err
    assert releasing.main([*words, "7"]) == 0
    out = capsys.readouterr().out
    assert in_service.student in out
    assert "before" not in out


def test_a_broken_record_is_told_in_one_line(two, tmp_path, capsys):
    record = Shadowing(load(two[1]).version, upstream=Compared(1, 1, 0.0, 1))
    write_record(tmp_path, record)
    (path,) = tmp_path.glob("candidate-*.json")
    path.write_text(path.read_text("utf-8").replace("0.0", '"x"'), "utf-8")
    words = ["promote", str(two[1]), str(tmp_path / "service"), "--shadow", str(tmp_path)]
    assert releasing.main(words) == 2
    assert "is no record of a candidate" in capsys.readouterr().err
