"""What the image is built of is locked: each file by its hash, in the version that was tested."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.attacks.supply import licences
from tests.attacks.supply.licences import ALLOWED, LICENCES, licence_of
from tests.attacks.supply.locks import BUILD, EXTRAS, IMAGE, Locked, locked
from tests.deploy.deployments import DOCKERFILE, instructions
from tests.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TESTED = {
    str(canonicalize_name(name)): version
    for name, version in re.findall(
        r"^(\S+)==(\S+)$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE
    )
}


def wanted(*extras: str) -> set[str]:
    """The packages that the project asks for."""
    project = PROJECT["project"]
    texts = [*project["dependencies"]]
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    found = map(Requirement, texts)
    return {
        part
        for each in found
        for part in (each.name, *(f"{each.name}-{extra}" for extra in each.extras))
    }


@pytest.mark.parametrize("path", [IMAGE, BUILD], ids=lambda path: path.name)
def test_every_package_is_locked_by_hashes_in_the_version_that_was_tested(path: Path) -> None:
    packages = list(locked(path))

    assert all(each.hashes for each in packages)
    assert {each.name: each.version for each in packages if each.here} == {
        each.name: TESTED[each.name] for each in packages if each.here
    }


def test_the_image_gets_what_the_project_and_its_extras_ask_for() -> None:
    names = {each.name for each in locked(IMAGE)}

    assert wanted(*EXTRAS) <= names
    (command,) = re.findall(r"pip compile pyproject.toml (.*?) \$", (ROOT / "Makefile").read_text())
    assert command == " ".join(f"--extra {extra}" for extra in EXTRAS)


def test_the_wheel_is_built_by_what_the_project_says_it_is_built_by() -> None:
    assert PROJECT["build-system"]["requires"] == PROJECT["dependency-groups"]["build"]
    assert {Requirement(each).name for each in PROJECT["build-system"]["requires"]} <= {
        each.name for each in locked(BUILD)
    }


def test_the_image_installs_nothing_that_is_not_locked() -> None:
    installs = [
        command
        for name, rest in instructions()
        if name == "RUN"
        for command in rest.split("&&")
        if re.search(r"\bpip\b.* (install|wheel)\b", command)
    ]

    assert len(installs) == 4
    for command in installs:
        assert ("--require-hashes" in command) is ("--no-index" not in command), command
        assert "--require-hashes" in command or "--no-deps" in command, command


def test_the_locks_name_no_place_to_get_packages_from() -> None:
    for path in (IMAGE, BUILD, DOCKERFILE):
        assert not re.search(r"https?://|file:|--(extra-)?index-url|--find-links", path.read_text())


def test_a_lock_is_read_as_it_is_written(tmp_path: Path) -> None:
    lock, digest = tmp_path / "lock.txt", "0" * 64
    lock.write_text(
        f"Some_Package==1.2 ; sys_platform == 'none' \\\n    --hash=sha256:{digest}\nother==3\n"
    )

    assert list(locked(lock)) == [
        Locked("some-package", "1.2", frozenset({digest}), here=False),
        Locked("other", "3", frozenset(), here=True),
    ]


def test_the_page_of_licences_is_that_of_what_is_carried() -> None:
    assert LICENCES.read_text(encoding="utf-8") == licences.table()


def test_nothing_is_carried_under_a_licence_that_nobody_agreed_to() -> None:
    for each in locked(IMAGE):
        if each.here:
            terms = set(re.findall(r"[\w.-]+", licence_of(each.name))) - {"AND", "OR"}

            assert terms <= ALLOWED, each.name
