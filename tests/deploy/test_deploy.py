"""What deploy/ holds: linters find nothing, its parts agree, and what it starts does run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import trustme

from liquidation.client import LiquidationClient, LiquidationRefused
from liquidation.config.options import serve_options
from liquidation.rules.policy import read_policy
from liquidation.values import ClaimTerms
from tests.attacks.supply.locks import EXTRAS
from tests.deploy import deployments
from tests.deploy.deployments import DEPLOY, DOCKERFILE, MANIFESTS, UNIT, Deployment
from tests.deploy.installed import Installation, build, install
from tests.processes import ROOT

# The oldest Kubernetes whose native sidecars are stable, and the newest that is known here.
KUBERNETES = ("1.33", kubernetes_validate.latest_version())
# How long the log may take to be written out at the end, in seconds; docs/how-to/configuration.md.
LOG_PATIENCE_S = 5
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]


def tool(name: str) -> str | None:
    """Where a program is: beside this Python, or on the path."""
    return shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(tool(name) is None, reason=f"{name} is not installed")


def output_of(*arguments: str) -> str:
    """What a linter says; it must be content."""
    told = subprocess.run(arguments, check=False, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout + told.stderr


def serve_flags() -> dict[str, click.Option]:
    """The options of `serve`, by their variables."""

    @click.command()
    @serve_options
    def serve(**_: object) -> None:
        """Only its options count."""

    options = (each for each in serve.params if isinstance(each, click.Option))
    return {str(option.envvar): option for option in options}


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize(
    "manifest", sorted((DEPLOY / "kubernetes").rglob("*.yaml")), ids=lambda path: path.name
)
def test_kubernetes_knows_every_field_of_a_manifest(manifest: Path, version: str) -> None:
    for each in deployments.resources(manifest):
        assert version.startswith(kubernetes_validate.validate(each, version, strict=True))


@needs("hadolint")
def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    assert output_of(str(tool("hadolint")), str(DOCKERFILE)) == ""


@needs("systemd-analyze")
def test_systemd_takes_the_unit_and_finds_little_exposed(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    # systemd asks whether what is started is there; any program that is serves.
    unit.write_text(UNIT.read_text().replace("/opt/liquidation/bin/liquidation", sys.executable))

    assert output_of("systemd-analyze", "verify", "--man=no", str(unit)) == ""
    # In tenths: 1.6 of 10, where 10 is wide open.
    output_of("systemd-analyze", "security", "--offline=true", "--threshold=16", str(unit))


@needs("logrotate")
def test_logrotate_takes_its_configuration(tmp_path: Path) -> None:
    log = tmp_path / "decisions.log"
    log.write_text("{}\n")
    text = (DEPLOY / "logrotate.conf").read_text(encoding="utf-8")
    text = text.replace("/var/log/liquidation/decisions.log", str(log))
    configuration = tmp_path / "logrotate.conf"
    configuration.write_text(
        text.replace("liquidation liquidation", f"{os.getuid()} {os.getgid()}")
    )
    configuration.chmod(0o644)

    told = output_of(
        *(str(tool("logrotate")), "--debug", "--force", "--state", str(tmp_path / "state")),
        str(configuration),
    )

    assert "error" not in told
    assert f"renaming {log} to" in told


@pytest.mark.parametrize(
    "path",
    [*MANIFESTS, DOCKERFILE, UNIT, ROOT / "docs" / "how-to" / "deployment.md"],
    ids=lambda path: path.name,
)
def test_every_variable_that_is_named_is_a_setting(path: Path) -> None:
    named = set(re.findall(r"\bLIQUIDATION_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))

    assert named <= serve_flags().keys()


def test_who_ends_the_service_gives_it_the_time_that_it_takes() -> None:
    drain_s = float(serve_flags()["LIQUIDATION_DRAIN_TIME"].default)  # type: ignore[arg-type]
    told_to_end_after_s = deployments.sidecar()["lifecycle"]["preStop"]["sleep"]["seconds"]
    takes_s = drain_s + LOG_PATIENCE_S

    # The backend beside it has its own drain, within the same time.
    assert deployments.pod()["terminationGracePeriodSeconds"] >= 2 * (told_to_end_after_s + takes_s)
    assert int(deployments.unit()["TimeoutStopSec"][0]) > takes_s


def test_all_parts_speak_of_this_version() -> None:
    image = deployments.sidecar()["image"]

    assert image.endswith(f"/liquidation:{VERSION}")
    assert f"--tag liquidation:{VERSION} " in DOCKERFILE.read_text(encoding="utf-8")


def test_the_image_and_the_pod_run_as_the_same_user_without_rights() -> None:
    told = dict(deployments.instructions())
    pod = deployments.pod()["securityContext"]

    assert told["USER"] == f"{pod['runAsUser']}:{pod['runAsGroup']}" == "10001:10001"
    assert pod["fsGroup"] == pod["runAsGroup"]
    for container in (*deployments.pod()["initContainers"], *deployments.pod()["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_what_the_image_copies_is_there_and_is_not_ignored() -> None:
    copied = {
        word.rstrip("/")
        for name, rest in deployments.instructions()
        if name == "COPY" and "--from" not in rest
        for word in rest.split()[:-1]
    }
    kept = re.findall(r"^!(\S+?)/?$", (ROOT / ".dockerignore").read_text(), flags=re.MULTILINE)

    assert copied == set(kept)
    assert all((ROOT / name).exists() for name in copied)


def _names(entries: Iterable[dict[str, Any]]) -> set[str]:
    return {each["name"] for each in entries}


def test_the_manifests_refer_to_what_is_there() -> None:
    stateful, service = deployments.resource("StatefulSet"), deployments.resource("Service")
    policy, pod = deployments.resource("NetworkPolicy"), deployments.pod()
    labels = stateful["spec"]["template"]["metadata"]["labels"].items()

    for selector in (stateful["spec"]["selector"], policy["spec"]["podSelector"]):
        assert selector["matchLabels"].items() <= labels
    assert service["spec"]["selector"].items() <= labels
    assert stateful["spec"]["serviceName"] == service["metadata"]["name"]
    claimed = {each["metadata"]["name"] for each in stateful["spec"]["volumeClaimTemplates"]}
    mounted = [*deployments.sidecar()["volumeMounts"], *pod["containers"][0]["volumeMounts"]]
    assert _names(mounted) == claimed | _names(pod["volumes"])
    ports = _names(deployments.sidecar()["ports"])
    assert {each["targetPort"] for each in service["spec"]["ports"]} == ports
    opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert opened == ports


def test_the_pod_is_restarted_for_what_a_restart_mends_and_waits_for_the_rest() -> None:
    _startup, readiness, liveness = deployments.in_kubernetes().probes

    assert liveness[liveness.index("--service") + 1] == "live"
    assert "--service" not in readiness


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """What the image holds: the wheel with the extras whose packages are locked for it."""
    wheel = build(tmp_path_factory.mktemp("built")).wheel
    return install(wheel, tmp_path_factory.mktemp("installed"), *EXTRAS)


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a short name, since a socket's path may not be long."""
    place = tmp_path_factory.mktemp("d")
    deployments.prepare(place)
    return place


def runs(deployment: Deployment, installed: Installation, place: Path) -> None:
    """The deployment serves, is found well by all that asks for it, and ends when told to."""
    here = deployment.within(place, installed.command)
    with installed.serving(place, *here.command, environment=here.environment) as process:
        for probe in here.probes:
            told = installed.run(*probe, directory=place)
            assert (told.returncode, told.stdout.split()[:1]) == (0, ["SERVING"]), told.stderr
        process.popen.send_signal(signal.SIGTERM)

        assert process.popen.wait() == 0


def test_the_image_runs_as_it_is(installed: Installation, place: Path) -> None:
    runs(deployments.in_an_image(), installed, place)

    assert (place / "store" / "liquidation.db").exists()


def test_the_unit_runs_what_it_starts(installed: Installation, place: Path) -> None:
    runs(deployments.under_systemd(), installed, place)

    assert (place / "log" / "decisions.log").stat().st_size > 0


@pytest.fixture
def pod_files(installed: Installation, place: Path) -> Path:
    """`place` with what the pod mounts: rules of the ConfigMap, API keys, certificates."""
    for name in ("rules", "api-keys", "tls"):
        (place / "etc" / name).mkdir()
    rules = deployments.resource("ConfigMap")["data"]["rules.toml"]
    (place / "etc" / "rules" / "rules.toml").write_text(rules, encoding="utf-8")
    made = installed.run(
        *(installed.command, "keys", "new", "risk-backend", "--permission", "check"),
        *("--file", str(place / "etc" / "api-keys" / "keys.json")),
        directory=place,
    )
    assert made.returncode == 0, made.stderr
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    tls = place / "etc" / "tls"
    authority.cert_pem.write_to_path(str(tls / "ca.crt"))
    leaf.cert_chain_pems[0].write_to_path(str(tls / "tls.crt"))
    leaf.private_key_pem.write_to_path(str(tls / "tls.key"))
    return place


def test_the_pods_sidecar_runs_with_what_is_mounted(
    installed: Installation, pod_files: Path
) -> None:
    runs(deployments.in_kubernetes(), installed, pod_files)


def test_the_pods_sidecar_takes_no_call_without_a_key(
    installed: Installation, pod_files: Path
) -> None:
    here = deployments.in_kubernetes().within(pod_files, installed.command)
    with installed.serving(pod_files, *here.command, environment=here.environment) as process:
        for address in process.serving["addresses"]:
            assert address.startswith(("unix:", "127.0.0.1:"))
        with (
            LiquidationClient(process.serving["addresses"][0]) as client,
            pytest.raises(LiquidationRefused) as refused,
        ):
            client.check_claim(ClaimTerms(101, "liquidator-1", "1"))

    assert refused.value.code == -1002


def test_the_rules_of_the_config_map_are_sound() -> None:
    assert read_policy(deployments.resource("ConfigMap")["data"]["rules.toml"]).version
