"""app.toml: what resolves to a graph, and the one line that says why something does not."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.config.app import AppConfig, OutputConfig, StageConfig, resolve
from glet.config.load import decode
from glet.config.zoo import zoo, zoo_app, zoo_apps
from glet.errors import ConfigError
from glet.serve.repository import Repository
from glet.types.app import AppSpec, Source
from glet.types.model import ModelSpec, Signature, TensorSpec


def tensor(name: str, *shape: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def model(name: str, inputs: list[TensorSpec], outputs: list[TensorSpec]) -> ModelSpec:
    signature = Signature(inputs=tuple(inputs), outputs=tuple(outputs))
    return ModelSpec(name=name, signature=signature, slo_ms=100.0, max_batch=8)


MODELS = {
    "detect": model(
        "detect", [tensor("image", 3, 8, 8)], [tensor("crops", 4, 3, 2, 2), tensor("n", 1)]
    ),
    "kind": model("kind", [tensor("crop", 3, 2, 2)], [tensor("scores", 5)]),
    "pick": model("pick", [tensor("scores", 4, 5), tensor("n", 1)], [tensor("best", 1)]),
    "ids": model("ids", [tensor("x", 3, 2, 2, dtype="int64")], [tensor("y", 1)]),
}
TEXT = """
slo_ms = 100.0
[[input]]
name = "image"
dtype = "float32"
shape = [3, 8, 8]
[[stage]]
name = "last"
model = "pick"
inputs = { scores = "kind.scores", n = "first.n" }
[[stage]]
name = "first"
model = "detect"
inputs = { image = "image" }
[[stage]]
name = "kind"
model = "kind"
each = true
inputs = { crop = "first.crops" }
[[output]]
name = "best"
from = "last.best"
[[output]]
name = "kinds"
from = "kind.scores"
"""


def app(text: str = TEXT) -> AppSpec:
    return resolve("a", decode(text, AppConfig, "app.toml"), MODELS)


def test_stages_are_ordered_and_outputs_have_rows() -> None:
    spec = app()
    assert [stage.name for stage in spec.stages] == ["first", "kind", "last"]
    assert [stage.fan_out for stage in spec.stages] == [1, 4, 1]
    assert [stage.each for stage in spec.stages] == [0, 4, 0]
    assert spec.signature.outputs == (tensor("best", 1), tensor("kinds", 4, 5))
    assert spec.outputs == (
        Source(stage="last", tensor="best"), Source(stage="kind", tensor="scores"),
    )  # fmt: skip
    assert spec.stages[1].inputs[0].split
    assert spec.models() == ("detect", "kind", "pick")


# What is replaced in TEXT, by what, and words of the error.
FAULTS = [
    ("slo_ms = 100.0", "slo_ms = 0.0", ["slo_ms", "above 0"]),
    ("slo_ms = 100.0", "slo = 100.0", ["unknown key 'slo'", "slo_ms"]),
    ('each = true\ninputs = { crop', 'eahc = true\ninputs = { crop', ["stage[2]", "each"]),
    ('model = "kind"', 'model = "kinds"', ["'kinds'", "did you mean 'kind'"]),
    ("kind.scores\", n", "kid.scores\", n", ["no stage 'kid'", "'kind'"]),
    ("first.crops", "first.crop", ["no output 'crop'", "'crops'"]),
    ('image = "image" }', 'image = "img" }', ["no input 'img'", "'image'"]),
    ("crop = \"first.crops\"", "corp = \"first.crops\"", ["no input 'corp'", "'crop'"]),
    (', n = "first.n" }', " }", ["input 'n'", "missing"]),
    ('n = "first.n"', 'n = "first.crops"', ["expected float32 [1]", "[4, 3, 2, 2]"]),
    ("each = true\n", "", ["each = true makes a request of every row"]),
    ('model = "kind"', 'model = "ids"', ["no input 'crop'"]),
    ('inputs = { image = "image" }', 'each = true\ninputs = { image = "image" }',
     ["stage 'first'", "no input has one axis more"]),
    ('from = "last.best"', 'from = "image"', ["STAGE.OUTPUT"]),
    ('from = "last.best"', 'from = "last.bets"', ["no output 'bets'", "'best'"]),
    ('from = "last.best"', 'from = "kind.scores"', ["stage 'last'", "no output of the app"]),
    ('image = "image" }', 'image = "last.best" }', ["wait for each other", "cycle"]),
    ('name = "kinds"', 'name = "best"', ["'best' is used twice"]),
    ('name = "last"', 'name = "la.st"', ["'la.st'", "valid"]),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "words"), FAULTS)
def test_every_fault_is_one_clear_line(old: str, new: str, words: list[str]) -> None:
    assert old in TEXT
    with pytest.raises(ConfigError) as error:
        app(TEXT.replace(old, new, 1))
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_an_input_that_nobody_takes_is_named() -> None:
    more = '[[input]]\nname = "spare"\ndtype = "int8"\nshape = [1]\n[[stage]]\nname = "last"'
    with pytest.raises(ConfigError, match="input 'spare': no stage takes it"):
        app(TEXT.replace('[[stage]]\nname = "last"', more, 1))


@pytest.mark.parametrize(
    ("rows", "size", "words"),
    [(65, 4, "at most 64"), (64, 2 << 20, "at most 256 are valid")],
)
def test_limits(rows: int, size: int, words: str) -> None:
    config = AppConfig(
        slo_ms=1.0,
        input=(tensor("x", rows, size),),
        stage=(StageConfig(name="s", model="m", each=True, inputs={"x": "x"}),),
        output=(OutputConfig(name="y", source="s.y"),),
    )
    with pytest.raises(ConfigError, match=words):
        resolve("a", config, {"m": model("m", [tensor("x", size)], [tensor("y", 1)])})


def test_too_many_requests_of_one() -> None:
    stages = tuple(
        StageConfig(name=f"s{i}", model="m", each=True, inputs={"x": "x"}) for i in range(5)
    )
    config = AppConfig(
        slo_ms=1.0,
        input=(tensor("x", 64, 1),),
        stage=stages,
        output=tuple(OutputConfig(name=s.name, source=f"{s.name}.y") for s in stages),
    )
    with pytest.raises(ConfigError, match="makes 320 requests of one; at most 256"):
        resolve("a", config, {"m": model("m", [tensor("x", 1)], [tensor("y", 1)])})


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_graphs_resolve_in_order_or_are_a_cycle(data: st.DataObject) -> None:
    """Whatever the order in the file: each stage comes after those it takes from."""
    count = data.draw(st.integers(1, 8))
    takes = [data.draw(st.integers(-1, count - 1)) for _ in range(count)]
    stages = [
        StageConfig(name=f"s{i}", model="m", inputs={"x": "x" if t < 0 else f"s{t}.y", "z": "x"})
        for i, t in enumerate(takes)
    ]
    config = AppConfig(
        slo_ms=1.0,
        input=(tensor("x", 2),),
        stage=tuple(stages),
        output=tuple(OutputConfig(name=s.name, source=f"{s.name}.y") for s in stages),
    )
    models = {"m": model("m", [tensor("x", 2), tensor("z", 2)], [tensor("y", 2)])}

    def in_cycle(stage: int) -> bool:
        for _ in range(count):
            stage = takes[stage]
            if stage < 0:
                return False
        return True

    if any(in_cycle(i) for i in range(count)):
        with pytest.raises(ConfigError, match="cycle"):
            resolve("a", config, models)
        return
    done: set[str] = set()
    for stage in resolve("a", config, models).stages:
        assert stage.needs <= done
        done.add(stage.name)
    assert done == {s.name for s in stages}


def test_the_sample_apps_fit_the_sample_models() -> None:
    specs = {name: sample.config().spec(name) for name, sample in zoo().items()}
    found = {name: resolve(name, config, specs) for name, config in zoo_apps().items()}
    assert set(found) == {"game", "traffic"}
    assert [stage.fan_out for stage in found["game"].stages] == [1, 6]
    assert [stage.fan_out for stage in found["traffic"].stages] == [1, 4, 4]
    with pytest.raises(ConfigError, match="did you mean 'traffic'"):
        zoo_app("trafic")


def write_model(folder: Path) -> None:
    folder.mkdir(parents=True)
    specs = 'slo_ms = 9.0\nmax_batch = 2\n[[input]]\nname = "x"\ndtype = "float32"\nshape = [2]\n'
    specs += '[[output]]\nname = "y"\ndtype = "float32"\nshape = [2]\n'
    (folder / "model.toml").write_text(specs)
    (folder / "model.py").write_text("def infer(x):\n    return x\n")


APP = """slo_ms = 9.0
[[input]]
name = "x"
dtype = "float32"
shape = [2]
[[stage]]
name = "s"
model = "m"
inputs = { x = "x" }
[[output]]
name = "y"
from = "s.y"
"""


def write_app(folder: Path, text: str = APP) -> None:
    folder.mkdir(parents=True)
    (folder / "app.toml").write_text(text)


def test_a_repository_tells_apps_from_models(tmp_path: Path) -> None:
    write_model(tmp_path / "m")
    write_app(tmp_path / "app")
    write_app(tmp_path / "of-app", APP.replace('"m"', '"app"'))
    write_app(tmp_path / "lost", APP.replace('"m"', '"n"'))
    write_app(tmp_path / "bad", APP.replace("slo_ms", "slo_mss"))
    write_app(tmp_path / "both")
    (tmp_path / "both" / "model.toml").write_text("")
    repository = Repository(tmp_path)
    assert repository.names() == ["m"]
    assert repository.app("app").models() == ("m",)
    assert repository.check_app("app") is None
    for name, words in {
        "of-app": "'app' is an app; a stage names a model",
        "lost": "no model 'n'",
        "bad": "app.toml: unknown key 'slo_mss'; did you mean 'slo_ms'",
        "both": "both app.toml and model.toml",
    }.items():
        assert words in str(repository.check_app(name))
        with pytest.raises(ConfigError, match=f"app '{name}': "):
            repository.app(name)
    with pytest.raises(ConfigError, match="model 'app': is an app"):
        repository.entry("app")


def test_more_outputs_than_a_request_may_have() -> None:
    more = "".join(f'[[output]]\nname = "o{i}"\nfrom = "last.best"\n' for i in range(63))
    with pytest.raises(ConfigError, match="there are 65 outputs; at most 64"):
        app(TEXT + more)


def test_strings_are_not_handed_on() -> None:
    texts = {**MODELS, "kind": model("kind", [tensor("crop", 3, 2, 2)], [
        tensor("scores", 5, dtype="bytes")
    ])}  # fmt: skip
    with pytest.raises(ConfigError, match=r"stage 'kind': 'scores' is of bytes, which apps do not"):
        resolve("a", decode(TEXT, AppConfig, "app.toml"), texts)
