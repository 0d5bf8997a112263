"""Finds the OpenSSL that the core's doors speak TLS with; the core links nothing."""

from glet.errors import ConfigError
from glet.serve.nghttp2_path import brought_by_pycurl, opens

SONAMES = ("libssl.so.3", "libssl.so.1.1")


def libssl_path() -> str:
    """Path or soname of libssl, fit for dlopen: the system's, else the one that pycurl brought.

    Raises:
        ConfigError: none is there; the line says what to install.
    """
    for library in (*SONAMES, *map(str, brought_by_pycurl("libssl"))):
        if opens(library):
            return library
    raise ConfigError(
        f"TLS needs OpenSSL and there is no {' or '.join(SONAMES)}; "
        "apt install libssl3, or pip install 'glet[grpc]'"
    )
