"""Encrypted connections, and sockets of this host."""

from pathlib import Path

import grpc
import pytest

from tests.certificates import LOCAL, Authority
from tests.service.transport.conftest import Serve
from tests.service.transport.echo import PATIENCE_S, plain, secure, status


def test_a_call_goes_over_tls(serve: Serve) -> None:
    authority = Authority()
    issued = authority.issue(*LOCAL)
    running = serve(credentials=grpc.ssl_server_credentials([(issued.key, issued.chain)]))
    with secure(running.address, grpc.ssl_channel_credentials(authority.pem)) as channel:
        echo = channel.unary_unary("/echo/Echo")
        assert echo(b"secret", timeout=PATIENCE_S) == b"secret"
    with plain(running.address) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary("/echo/Echo")(b"plain", timeout=PATIENCE_S)


def test_with_mutual_tls_a_caller_needs_a_certificate(serve: Serve) -> None:
    authority = Authority()
    issued, caller = authority.issue(*LOCAL), authority.issue(*LOCAL)
    running = serve(
        credentials=grpc.ssl_server_credentials(
            [(issued.key, issued.chain)], authority.pem, require_client_auth=True
        )
    )
    known = grpc.ssl_channel_credentials(authority.pem, caller.key, caller.chain)
    with secure(running.address, known) as channel:
        assert channel.unary_unary("/echo/Echo")(b"known", timeout=PATIENCE_S) == b"known"
    unknown = grpc.ssl_channel_credentials(authority.pem)
    with secure(running.address, unknown) as channel:
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary("/echo/Echo")(b"unknown", timeout=PATIENCE_S)
        assert status(failed.value)[0] == "UNAVAILABLE"


def test_a_call_goes_over_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    running = serve(f"unix:{tmp_path / 'socket'}")
    assert running.unary("Echo")(b"local", timeout=PATIENCE_S) == b"local"
    assert b" unix:" in running.unary("Seen")(b"", timeout=PATIENCE_S)


def test_an_address_that_cannot_be_listened_on_is_an_error(serve: Serve, tmp_path: Path) -> None:
    running = serve()
    with pytest.raises(RuntimeError):
        serve(running.address, options=(("grpc.so_reuseport", 0),))
    with pytest.raises(RuntimeError):
        serve(f"unix:{tmp_path / 'missing' / 'socket'}")
