"""Where the doors' OpenSSL is found."""

import pytest

from glet.errors import ConfigError
from glet.serve import libssl_path


def test_the_newest_of_the_system_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def opens(library: str) -> bool:
        tried.append(library)
        return library == "libssl.so.1.1"

    monkeypatch.setattr(libssl_path, "opens", opens)
    assert libssl_path.libssl_path() == "libssl.so.1.1"
    assert tried == ["libssl.so.3", "libssl.so.1.1"]


def test_without_one_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libssl_path, "opens", lambda _: False)
    with pytest.raises(ConfigError, match=r"libssl\.so\.3 .* apt install libssl3"):
        libssl_path.libssl_path()
