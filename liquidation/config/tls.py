"""The certificates with which calls are encrypted, and how they are handed to gRPC.

What gRPC serves is asked for at each handshake: a renewed file needs no restart.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import grpc


class CertificateError(Exception):
    """A file that cannot be used for TLS. The text names the file and says what is wrong."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """What a server shows and demands in a handshake; equal where the files' contents are.

    `chain`, `key` and `client_ca` are PEM. With `client_ca`, clients must show a certificate that
    one of its authorities issued. `not_after` is when the first certificate of the chain runs out,
    in UTC; `serial` is the serial number of the server's own one.
    """

    chain: bytes
    key: bytes = field(repr=False)
    client_ca: bytes | None
    not_after: datetime
    serial: int


def server_credentials(current: Callable[[], Certificates]) -> grpc.ServerCredentials:
    """Credentials for one listener, with the certificates that `current` gives at each handshake.

    Connections that are open go on with those they began with. Client certificates are required
    where the first that `current` gives have a client CA, and stay so.

    gRPC remembers per listener what it was handed last, so each listener needs credentials of its
    own. `current` is called on gRPC's threads: it must return at once, and not raise.
    """
    certificates = current()
    return grpc.dynamic_ssl_server_credentials(
        _configuration(certificates),
        _Renewal(current, certificates),  # type: ignore[arg-type] # None is "no change"
        require_client_authentication=certificates.client_ca is not None,
    )


class _Renewal:
    """Hands out certificates where they are others than the last time, else None."""

    def __init__(self, current: Callable[[], Certificates], handed_out: Certificates) -> None:
        self._current = current
        self._handed_out = handed_out

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        certificates = self._current()
        if certificates == self._handed_out:
            return None
        configuration = _configuration(certificates)
        self._handed_out = certificates
        return configuration


def _configuration(certificates: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(certificates.key, certificates.chain)], certificates.client_ca
    )
