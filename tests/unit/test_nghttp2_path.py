"""The nghttp2 that the gRPC door opens: the system's, pycurl's, or a line on what to do."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from glet.errors import ConfigError
from glet.serve import nghttp2_path as module


def test_the_systems_library_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "opens", lambda library: True)
    assert module.nghttp2_path() == "libnghttp2.so.14"


@pytest.mark.parametrize("origin", ["pycurl.so", "pycurl/__init__.py"])
def test_else_it_is_the_copy_beside_pycurl(
    origin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "pycurl.libs" / "libnghttp2-3dab5618.so.14.29.5"
    library.parent.mkdir()
    library.touch()
    folders = [str(tmp_path / "pycurl")] if "/" in origin else None
    spec = SimpleNamespace(origin=str(tmp_path / origin), submodule_search_locations=folders)
    monkeypatch.setattr(module, "find_spec", lambda name: spec)
    monkeypatch.setattr(module, "opens", lambda path: path == str(library))
    assert module.nghttp2_path() == str(library)


def test_without_either_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "opens", lambda library: False)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as caught:
        module.nghttp2_path()
    assert "pip install 'glet[grpc]'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_opened_is_not_taken(tmp_path: Path) -> None:
    broken = tmp_path / "libnghttp2-broken.so.14"
    broken.write_bytes(b"not a library")
    assert not module.opens(str(broken))
