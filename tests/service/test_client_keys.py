"""Both faces of the client with an API key: every call shows it, and nothing else does."""

import traceback
from pathlib import Path
from typing import Any

import grpc
import pytest

from liquidation.client import LiquidationClient, LiquidationRefused
from liquidation.values import ClaimRequest
from tests.certificates import LOCAL, Authority
from tests.cli.commands import run
from tests.service.test_client import ALL, FACES, LOW, Face, Kind
from tests.service.test_examples import EXAMPLES, run_python
from tests.sidecars import running


def new_key(directory: Path) -> tuple[Path, str]:
    """A file of keys with one that allows everything, and that key."""
    path = directory / "keys.json"
    made = run("keys", "new", "backend", "--file", str(path), "--permission", "admin")
    return path, made.stdout.strip()


# Each method that calls the service, with arguments that it takes.
CALLS: dict[str, tuple[Any, ...]] = {
    "check_claim": (ALL, LOW),
    "check": (ClaimRequest(ALL, LOW),),
    "batch_check_claims": ([ClaimRequest(ALL, LOW)],),
    "stream_check_claims": ([ClaimRequest(ALL, LOW)],),
    "list_error_codes": (),
    "get_rules": (),
    "put_liquidation": (LOW,),
    "batch_put_liquidations": ([LOW],),
    "get_liquidation": (101,),
    "list_liquidations": (),
    "close_liquidation": (101,),
    "begin_claim": ("r-1", ALL, LOW),
    "renew_claim": ("nobody", 1),
    "complete_claim": ("nobody", 1),
    "cancel_claim": ("nobody", 0, "why", True),
    "get_claim": ("nobody",),
    "list_claims": (),
}


async def code_of(face: Face, method: str) -> int:
    """The exchange's code of the answer to one of the calls, 0 for a good one."""
    try:
        await face(method, *CALLS[method])
    except LiquidationRefused as refused:
        return refused.code
    return 0


def test_every_method_that_calls_the_service_is_among_the_calls() -> None:
    methods = {name for name in vars(LiquidationClient) if not name.startswith("_")}

    assert methods - {"close"} == set(CALLS)


@FACES
async def test_every_call_shows_the_key(tmp_path: Path, kind: Kind) -> None:
    path, key = new_key(tmp_path)
    async with running(tmp_path, api_keys=path) as server:
        knowing, unknowing = Face(kind(server.address, api_key=key)), Face(kind(server.address))
        shown = {method: await code_of(knowing, method) for method in CALLS}
        hidden = {method: await code_of(unknowing, method) for method in CALLS}
        await knowing.close()
        await unknowing.close()

    assert not set(shown.values()) & {-1001, -1002}
    assert hidden == dict.fromkeys(CALLS, -1002)


@FACES
@pytest.mark.parametrize("method", ["check_claim", "stream_check_claims"])
async def test_a_refusal_of_a_key_does_not_show_it(tmp_path: Path, kind: Kind, method: str) -> None:
    path, key = new_key(tmp_path)
    wrong = key[:-8] + ("01234567" if key[-8:] != "01234567" else "76543210")
    async with running(tmp_path, api_keys=path) as server:
        face = Face(kind(server.address, api_key=wrong))
        refused = await face.raises(method, *CALLS[method])
        await face.close()

    assert refused.code == -1002
    assert refused.grpc_code is grpc.StatusCode.UNAUTHENTICATED
    told = "".join(traceback.format_exception(refused)) + repr(refused) + repr(face.client)
    assert wrong[16:40] not in told


@FACES
async def test_a_key_goes_over_an_encrypted_connection_too(tmp_path: Path, kind: Kind) -> None:
    path, key = new_key(tmp_path)
    authority = Authority()
    cert, private = tmp_path / "tls.crt", tmp_path / "tls.key"
    authority.issue(*LOCAL).write(cert, private)
    async with running(tmp_path, api_keys=path, tls_cert=cert, tls_key=private) as server:
        face = Face(kind(server.address, grpc.ssl_channel_credentials(authority.pem), api_key=key))
        rules = await face("get_rules")
        await face.close()

    assert rules.version == "default"


async def test_the_example_over_tls_shows_a_key(tmp_path: Path) -> None:
    path, key = new_key(tmp_path)
    (tmp_path / "backend.key").write_text(f"{key}\n")
    authority = Authority()
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    server, caller = ((tmp_path / f"{name}.crt", tmp_path / f"{name}.pem") for name in "sc")
    authority.issue(*LOCAL).write(*server)
    authority.issue("caller@example.com").write(*caller)
    ca = tmp_path / "ca.crt"
    told = {"tls_cert": server[0], "tls_key": server[1], "tls_client_ca": ca}
    async with running(tmp_path, None, api_keys=path, **told) as served:
        printed = await run_python(
            EXAMPLES / "mutual_tls.py", served.address, ca, *caller, tmp_path / "backend.key"
        )

    assert printed == "rules in force: default\n"


@FACES
@pytest.mark.parametrize("key", ["secret\n", "sec ret", "s\u00e9cret"])
async def test_what_cannot_be_sent_as_a_key_is_not_taken_and_not_shown(
    kind: Kind, key: str
) -> None:
    with pytest.raises(ValueError, match="api_key must be printable ASCII") as raised:
        kind("127.0.0.1:1", api_key=key)

    assert key.strip() not in str(raised.value)
