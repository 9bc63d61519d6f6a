"""A student is changed while it serves: no request is lost, and a broken one does not take over."""

import threading
import time
from pathlib import Path

import pytest
from tests.serving.fakes import Fake, running, shut
from tests.serving.load import Load

from tutelage_runtime.serving.errors import ServeError
from tutelage_runtime.serving.students import Source


def test_a_new_student_takes_over_under_load_without_a_lost_request():
    students = {"mood": Fake("sad", "happy", wait=0.002)}
    with running(students) as found:
        load = Load(found.port)
        for number in range(2, 12):
            students["mood"] = Fake("sad", "happy", wait=0.002, version=f"v{number}")
            assert found.call(found.server.reload())
            time.sleep(0.03)
        load.stop()
        said = found.ask("/metrics")[1].decode()
    assert load.lost == load.wrong == []
    assert load.answers
    assert len(load.models) > 1
    assert 'tutelage_reloads_total{outcome="done"} 10.0' in said


@pytest.mark.parametrize(
    "broken",
    [
        Fake("sad", "happy", fails="first text", version="v2"),
        Fake("sport", "news", version="v2"),  # the question of the other one
    ],
)
def test_a_student_that_cannot_serve_is_refused_and_the_old_one_stays(broken):
    students = {"mood": Fake("sad", "happy"), "topic": Fake("news", "sport")}
    with running(students) as found:
        students["mood"] = broken
        assert not found.call(found.server.reload())
        assert found.ask("/classify", {"model": "mood", "input": "happy"})[0] == 200
        assert found.ask("/ready")[1]["students"] == ["tutelage/mood@v1", "tutelage/topic@v1"]
        assert 'outcome="refused"} 1.0' in found.ask("/metrics")[1].decode()
    assert [fields["level"] for event, fields in found.lines if event == "reload_refused"] == [
        "error"
    ]


def test_a_student_that_is_as_before_goes_on():
    student = Fake("sad", "happy")
    students = {"mood": student}
    with running(students) as found:
        students["mood"] = Fake("sad", "happy")
        assert not found.call(found.server.reload())
        found.ask("/classify", {"input": "x"})
        assert student.calls[-1] == ["x"]
        # Its thread goes on too: only what goes through it is counted.
        assert 'tutelage_texts_total{student="mood"} 1.0' in found.ask("/metrics")[1].decode()


def test_what_cannot_answer_a_first_text_keeps_a_server_from_starting():
    with (
        pytest.raises(ServeError, match="cannot answer a text"),
        running({"a": Fake("x", "y", fails="first")}),
    ):
        pass


def test_folders_may_be_given_names(tmp_path):
    assert Source.read("runs/a") == Source(Path("runs/a"))
    assert Source.read("mood=runs/a") == Source(Path("runs/a"), "mood")
    odd = tmp_path / "a=b"
    odd.mkdir()
    assert Source.read(str(odd)) == Source(odd)


def test_what_does_not_end_within_the_time_for_shutting_down_is_cut_off():
    student = Fake("sad", "happy")
    got = []
    with running({"mood": student}, shutdown_seconds=1) as found:
        shut(student)
        thread = threading.Thread(target=lambda: got.append(found.ask("/classify", {"input": "x"})))
        thread.start()
        while len(student.calls) < 2:
            time.sleep(0.002)
        found.loop.call_soon_threadsafe(found.server.stop)
        thread.join(20)
        assert not thread.is_alive()
        student.gate.set()
    status, said, headers = got[0]
    assert (status, headers["connection"]) == (503, "close")
    assert "send this again" in said["error"]["message"]
    assert [event for event, _ in found.lines][-1] == "stopped"
