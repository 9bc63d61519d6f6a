import pytest
from tests.tasks.classification.report.fake_run import write_fake_run


@pytest.fixture(scope="session")
def fake_run():
    """Writes a made-up run folder: `fake_run(path, **changes)`."""
    return write_fake_run


@pytest.fixture(scope="session")
def reviews(tmp_path_factory):
    """One run with two students, controls and hostile texts, made once."""
    return write_fake_run(tmp_path_factory.mktemp("runs") / "reviews", bootstrap_samples=50)
