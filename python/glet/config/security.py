"""`[security]` of a cluster.toml: keys, certificates and tokens, each a file."""

import msgspec


class SecurityConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may connect, and what nobody else can read. Every value is a path; empty: not used.

    `server_key` is the secret CURVE key of this cluster (`glet keys`): with it every ZeroMQ socket
    is encrypted. `client_keys` is a folder of the public keys (`NAME.pub`) that may connect to
    frontends; empty: every client that knows the cluster's public key.

    `tls_cert` and `tls_key` are PEM files: HTTP and gRPC speak TLS. `tls_client_ca` is a PEM file
    of authorities: clients have to show a certificate of theirs. `tokens_file` names the bearer
    tokens that HTTP and gRPC take, one a line.

    Beyond this machine a frontend listens only when it has a `server_key` (ZeroMQ), and TLS with
    tokens or client certificates (HTTP, gRPC), or is told that the network is trusted (`insecure`).
    """

    server_key: str = ""
    client_keys: str = ""
    tokens_file: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""

    def __post_init__(self) -> None:
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("tls_cert and tls_key go together; one of them is missing")
        if self.tls_client_ca and not self.tls_cert:
            raise ValueError("tls_client_ca is given without tls_cert and tls_key")
        if self.client_keys and not self.server_key:
            raise ValueError("client_keys is given without server_key; make one with glet keys")

    @property
    def web_guarded(self) -> bool:
        """Whether HTTP and gRPC are encrypted and ask who is there."""
        return bool(self.tls_cert and (self.tokens_file or self.tls_client_ca))
