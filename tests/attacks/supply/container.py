"""`make container`: the image built by its own steps, run read-only as its user, and looked at.

It takes root and Linux's namespaces, and asks the package registry as a build of the image does.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from liquidation.client import LiquidationClient
from liquidation.values import ClaimState, ClaimTerms, Liquidation, Position, Tier
from tests.attacks.supply.image import Image

_SOCKET: Final = "/run/liquidation/liquidation.sock"
# What the image says, but for the port, which may be taken here.
_LISTEN: Final = f"unix:{_SOCKET} 127.0.0.1:0"
_PACKAGES: Final = """
import importlib.metadata
for package in importlib.metadata.distributions():
    print(f"{package.metadata['Name'].lower().replace('_', '-')}=={package.version}")
"""


def main() -> None:
    """Prints what was found; the exit status is 1 where something was not as it must be."""
    if len(sys.argv) == 1:
        # Outside of the namespace the directory stays empty, so it can be removed from there.
        with tempfile.TemporaryDirectory() as directory:
            command = ("unshare", "--mount", sys.executable, "-m", "tests.attacks.supply.container")
            sys.exit(subprocess.run((*command, directory), check=False).returncode)
    image = Image(Path(sys.argv[1]))
    image.build()
    image.seal()
    found = _looked_at(image)
    for fact, holds in found.items():
        print(f"{'yes' if holds else 'NO':4} {fact}")
    sys.exit(not all(found.values()))


def _looked_at(image: Image) -> dict[str, bool]:
    found = {
        "carries exactly what is locked": _packages(image) == _locked(),
        "carries no pip": image.ask("python", "-m", "pip", "--version").returncode != 0,
    }
    for path in ("/opt/liquidation/x", "/usr/x", "/etc/x", "/tmp/x"):
        found[f"{path} cannot be written"] = image.ask("touch", path).returncode != 0
    with _serving(image) as server:
        found["serves calls on its socket"] = _claim(image)
        health = image.ask(*json.loads(image.told["HEALTHCHECK"].partition("CMD ")[2]))
        found["its health check says SERVING"] = health.stdout.split()[:1] == ["SERVING"]
        found |= _rights(server.pid)
        server.send_signal(signal.SIGTERM)
        found["ends with 0 when it is told to"] = server.wait() == 0
    found["leaves its store in its volume"] = image.place_of(
        "/var/lib/liquidation/liquidation.db"
    ).exists()
    left = [each.name for each in image.place_of("/run/liquidation").iterdir()]
    found["leaves nothing in the socket's volume but its lock"] = left == ["liquidation.sock.lock"]
    return found


@contextmanager
def _serving(image: Image) -> Iterator[subprocess.Popen[str]]:
    command = [*json.loads(image.told["ENTRYPOINT"]), *json.loads(image.told["CMD"])]
    with image.start(*command, LIQUIDATION_LISTEN=_LISTEN) as server:
        try:
            assert server.stdout is not None
            assert server.stderr is not None
            line = server.stdout.readline()
            assert '"serving"' in line, server.stderr.read()
            yield server
        finally:
            server.kill()


def _claim(image: Image) -> bool:
    """Whether a claim can be begun and completed."""
    snapshot = Liquidation(
        liquidation_id=1,
        account_id="account-1",
        tier=Tier.LOW,
        positions=[Position("PERP_BTC_USDC", "1", "40000")],
        margin_ratio="0.008",
        maintenance_margin_ratio="0.012",
        revision=1,
    )
    # The names of sockets are short; the root of the image is at a long one.
    with LiquidationClient(f"unix:/proc/self/cwd/{_SOCKET}") as client:
        os.chdir(image.root)
        claim = client.begin_claim("request-1", ClaimTerms(1, "liquidator-1", "1"), snapshot).claim
        return (
            client.complete_claim(claim.claim_id, claim.fencing_token).state is ClaimState.COMPLETED
        )


def _rights(pid: int) -> dict[str, bool]:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    told = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return {
        "runs as 10001": set(told["Uid"].split()) == set(told["Gid"].split()) == {"10001"},
        "has no capability": int(told["CapEff"], 16) == int(told["CapBnd"], 16) == 0,
        "can gain none": told["NoNewPrivs"] == "1",
    }


def _packages(image: Image) -> set[str]:
    told = image.ask("/opt/liquidation/bin/python", "-c", _PACKAGES)
    return {line for line in told.stdout.split() if not line.startswith("liquidation==")}


def _locked() -> set[str]:
    from tests.attacks.supply.locks import IMAGE, locked  # noqa: PLC0415 - of use here alone

    return {f"{each.name}=={each.version}" for each in locked(IMAGE) if each.here}


if __name__ == "__main__":
    main()
