"""The exported lenet knows handwritten digits, and its entry can be served as it is."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from glet.errors import ConfigError, ModelError
from glet.serve.callables import load_callable
from glet.serve.digits import enlarge
from glet.serve.export import export_model
from glet.serve.repository import Entry, Repository, read_samples


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    folder = tmp_path_factory.mktemp("models")
    export_model("lenet", folder)
    assert [path.name for path in folder.iterdir()] == ["lenet"]
    return Repository(folder).entry("lenet")


def test_the_entry_is_sound(lenet: Entry) -> None:
    assert Repository(lenet.folder.parent).check("lenet") is None


def test_accuracy_on_held_out_digits(lenet: Entry) -> None:
    samples = read_samples(lenet)
    assert samples is not None
    assert samples.labels is not None
    assert len(samples.labels) == 360
    infer = load_callable(lenet)
    batches = np.split(samples.inputs["image"], range(64, 360, 64))
    scores = [infer(batch) for batch in batches]

    digits = np.concatenate([np.argmax(part, axis=1) for part in scores])
    assert (digits == samples.labels).mean() >= 0.95


def test_a_batch_the_program_does_not_take_is_a_model_error(lenet: Entry) -> None:
    with pytest.raises(ModelError, match="lenet"):
        load_callable(lenet)(np.zeros((65, 1, 28, 28), np.float32))


def test_an_entry_is_never_overwritten(lenet: Entry) -> None:
    with pytest.raises(ConfigError, match="exists already"):
        export_model("lenet", lenet.folder.parent)


def test_enlarging_keeps_flat_areas_and_order() -> None:
    flat = np.full((1, 8, 8), 0.5, np.float32)
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32), (1, 8, 8))

    assert np.allclose(enlarge(flat), 0.5)
    assert (np.diff(enlarge(ramp)[0], axis=1) >= 0).all()
    assert enlarge(ramp).shape == (1, 28, 28)
