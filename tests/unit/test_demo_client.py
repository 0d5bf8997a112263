"""The client of docker/overlay: the log that it writes of `glet load`'s requests."""

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[2] / "docker" / "overlay" / "client.py"
REQUESTS = """model,intended_ns,sent_ns,answered_ns,outcome
vgg16,0,1000000,8500000,ok
resnet50,0,1000000,2000000,late
vgg16,0,2000000,2000001,full
vgg16,0,3000000,3250000,ok
"""


@pytest.fixture(scope="module")
def client() -> ModuleType:
    spec = importlib.util.spec_from_file_location("glet_demo_client", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_answer_has_a_line_and_every_request_a_number(
    client: ModuleType, tmp_path: Path
) -> None:
    client.write_logs(csv.DictReader(REQUESTS.splitlines()), tmp_path / "overlapped")
    log = (tmp_path / "overlapped" / "vgg16-1-client.csv").read_text()
    assert log == (
        "Respond Time: 7.500000 for Request ID 0\nRespond Time: 0.250000 for Request ID 2\n"
    )
    assert (tmp_path / "overlapped" / "resnet50-1-client.csv").read_text() == ""


def test_models_that_never_serve_are_said_in_one_line(
    client: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["client.py", str(tmp_path / "results"), "--frontend", "127.0.0.1", "--wait-s", "0"]
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setattr(client, "is_ready", lambda url: False)
    assert client.main() == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "results").exists()
