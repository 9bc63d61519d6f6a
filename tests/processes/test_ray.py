"""Targets that two actors of Ray wrote are those of one process, bit for bit, one killed or not."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.journeys.tiny_language_job import write_teacher
from tests.processes.label_together import label
from tests.processes.test_labelling import content, write_documents, write_text_job

from tutelage.targets import verify
from tutelage.teachers.sharing import WORKERS

ray = pytest.importorskip("ray", reason="Ray brings pandas: make test-ray")
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(os.environ.get("TUTELAGE_NO_RAY") is not None, reason="asked for"),
]


@pytest.fixture(scope="module")
def cluster() -> Any:
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}},
    )
    yield
    ray.shutdown()


class Killer(threading.Thread):
    """Kills a worker of Ray as soon as two tasks have left something."""

    def __init__(self, out: Path) -> None:
        super().__init__(daemon=True)
        self.out, self.killed = out, []

    def run(self) -> None:
        ends = time.monotonic() + 500  # a pool starts within seconds, or minutes
        while time.monotonic() < ends and not self.killed:
            if len(list((self.out / WORKERS).glob("ray-*/manifest.json"))) >= 2:
                for place in Path("/proc").glob("[0-9]*"):
                    try:
                        name = (place / "cmdline").read_bytes()
                        parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
                    except (OSError, ValueError):
                        continue
                    if b"MapWorker" in name and _is_of(parent):
                        os.kill(int(place.name), signal.SIGKILL)
                        self.killed.append(int(place.name))
                        break
            time.sleep(0.005)


def _is_of(parent: int) -> bool:
    """Whether a process, of which this is the parent, belongs to this test."""
    while parent > 1:
        if parent == os.getpid():
            return True
        try:
            stat = Path(f"/proc/{parent}/stat").read_text()
        except OSError:
            return False
        parent = int(stat.rpartition(")")[2].split()[1])
    return False


@pytest.mark.usefixtures("cluster")
def test_two_actors_write_what_one_process_writes(tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    model = write_teacher(tmp_path / "teacher")
    engine = "engine: {kind: ray, workers: 2}\n"
    jobs = {
        "sampled": write_documents(
            tmp_path / "sampled", model, "{kind: sampled, threshold: 0.05}", engine
        ),
        "hidden": write_documents(tmp_path / "hidden", model, "{kind: hidden}", "engine: ray\n"),
        "texts": write_text_job(tmp_path / "texts", model, engine),
    }
    killer = Killer(tmp_path / "ray" / "sampled" / "tiny" / "targets")
    killer.start()
    for name, job in jobs.items():
        label(job, tmp_path / "ray" / name)
        text = job.read_text("utf-8").replace(engine, "").replace("engine: ray\n", "")
        job.write_text(text, "utf-8")
        label(job, tmp_path / "one" / name)
        one, two = (tmp_path / made / name / "tiny" / "targets" for made in ("one", "ray"))
        assert content(two) == content(one), name
        assert verify(two) == []
        assert not (two / WORKERS).exists()
    assert killer.killed
