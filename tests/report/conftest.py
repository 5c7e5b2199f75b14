import pytest
from report_samples import failed_report, healthy_report, metrics_lines, write_run


@pytest.fixture
def healthy():
    return healthy_report()


@pytest.fixture
def failed():
    return failed_report()


@pytest.fixture
def run_folder(tmp_path, healthy):
    return write_run(tmp_path / "run", healthy, metrics_lines())
