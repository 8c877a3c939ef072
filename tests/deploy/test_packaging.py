"""What is handed out: it holds what it must, and runs where there is no checkout."""

import re
import signal
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from liquidation.client import LiquidationClient, LiquidationRefused
from liquidation.values import ClaimTerms
from tests.deploy.installed import Built, Installation, build, install
from tests.processes import ROOT

ASK = """
import sys
from liquidation.client import LiquidationClient
from liquidation.values import ClaimTerms, Liquidation, Position, Tier

snapshot = Liquidation(
    liquidation_id=101,
    account_id="account-1",
    tier=Tier.LOW,
    positions=[Position("PERP_BTC_USDC", "0.5", "40000")],
    margin_ratio="0.008",
    maintenance_margin_ratio="0.012",
    revision=7,
)
with LiquidationClient(sys.argv[1]) as client:
    print(client.check_claim(ClaimTerms(101, "liquidator-1", "1"), snapshot).positions[0].notional)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(built.wheel, tmp_path_factory.mktemp("installed"))


def package_files() -> set[str]:
    """The files of the package, as a wheel names them."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "liquidation").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_whole_package_and_nothing_else(built: Built) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())

    assert {name for name in names if ".dist-info/" not in name} == package_files()
    assert names >= {
        "liquidation/py.typed",
        "liquidation/store/postgres/migrations/1.sql",
        "liquidation/store/sqlite/migrations/2.sql",
        "liquidation/analysis/page.css",
        "liquidation/analysis/page.js",
        "liquidation/v1/rules_service_pb2.py",
        "liquidation/v1/rules_service_pb2.pyi",
    }


def test_the_sdist_holds_the_package_and_the_api(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {
            PurePosixPath(*PurePosixPath(member.name).parts[1:]).as_posix()
            for member in archive.getmembers()
        }

    protos = {path.relative_to(ROOT).as_posix() for path in (ROOT / "proto").rglob("*.proto")}
    assert names >= package_files() | protos | {"pyproject.toml", "README.md", "server.py"}
    assert not any(name.startswith(("tests/", "bench/")) for name in names)


def test_an_installation_is_on_its_own(installed: Installation, tmp_path: Path) -> None:
    program = "import liquidation, sys; print(liquidation.__file__); print(*sys.path)"

    told = installed.run(installed.python, "-c", program, directory=tmp_path).stdout

    assert told.startswith(str(installed.directory))
    assert str(ROOT) not in told


def test_what_the_package_needs_is_what_it_asks_for(
    installed: Installation, tmp_path: Path
) -> None:
    program = (
        "import pkgutil, importlib, liquidation\n"
        "for each in pkgutil.walk_packages(liquidation.__path__, 'liquidation.'):\n"
        "    try:\n"
        "        importlib.import_module(each.name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        print(error.name.partition('.')[0])\n"
    )

    told = installed.run(installed.python, "-c", program, directory=tmp_path)

    assert told.stderr == ""
    # Those of the extras are missed, and no others.
    extras = {"opentelemetry", "plotly", "prometheus_client", "psycopg", "rich"}
    assert set(told.stdout.split()) <= extras


def test_every_command_tells_how_it_is_used(installed: Installation, tmp_path: Path) -> None:
    told = installed.run(installed.command, "--help", directory=tmp_path)
    commands = re.findall(r"^  (\w+)  ", told.stdout.partition("Commands:")[2], flags=re.MULTILINE)

    assert {"check", "claims", "errors", "health", "logs", "rules", "serve"} <= set(commands)
    for command in commands:
        assert installed.run(installed.command, command, "--help", directory=tmp_path).stdout


def test_it_serves_and_is_called_and_ends_when_it_is_told_to(
    installed: Installation, tmp_path: Path
) -> None:
    (tmp_path / "ask.py").write_text(ASK, encoding="utf-8")
    arguments = ("serve", "--listen", "127.0.0.1:0", "--log-file", "decisions.log")
    with installed.serving(tmp_path, installed.command, *arguments) as process:
        asked = installed.run(installed.python, "ask.py", process.address, directory=tmp_path)
        health = installed.run(
            *(installed.command, "health", "--address", process.address), directory=tmp_path
        )
        process.popen.send_signal(signal.SIGTERM)

        assert process.popen.wait() == 0

    assert (asked.stdout, asked.stderr) == ("20000\n", "")
    assert (health.returncode, health.stdout.split()[0]) == (0, "SERVING")
    assert (tmp_path / "liquidation.db").exists()
    assert '"event":"decision"' in (tmp_path / "decisions.log").read_text(encoding="utf-8")


def test_a_client_of_the_checkout_is_answered_by_an_installation(
    installed: Installation, tmp_path: Path
) -> None:
    arguments = ("serve", "--listen", "127.0.0.1:0")
    with (
        installed.serving(tmp_path, installed.command, *arguments) as process,
        LiquidationClient(process.address) as client,
        pytest.raises(LiquidationRefused) as refused,
    ):
        client.check_claim(ClaimTerms(101, "liquidator-1", "1"))

    assert refused.value.code == -1202


def test_what_lacks_its_extra_is_refused_with_its_name(
    installed: Installation, tmp_path: Path
) -> None:
    arguments = ("serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")

    told = installed.run(installed.command, *arguments, directory=tmp_path)

    assert told.returncode == 1
    assert "needs the extra metrics" in told.stderr
    assert "Traceback" not in told.stderr
