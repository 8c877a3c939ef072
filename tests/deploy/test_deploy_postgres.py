"""What deploy/ holds for PostgreSQL: its roles may do what they are for, and nothing else."""

import asyncio
import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors, sql

from liquidation.store.base import StoreUnavailableError
from liquidation.store.locations import PostgresDatabase, parse_location
from liquidation.store.postgres.schema import NEWEST, PRIVILEGES, SchemaState, migrate
from tests.attacks.supply.locks import IMAGE, locked
from tests.cli.test_serve_check_postgres import serve
from tests.deploy import deployments
from tests.deploy.deployments import DEPLOY
from tests.deploy.test_deploy import serve_flags
from tests.deploy.test_docs import DOCS, blocks
from tests.store.postgres.binaries import carried
from tests.store.stores import AwaitedStore, postgres_store

ROLES = DEPLOY / "postgres" / "roles.sql"
MANIFESTS = sorted((DEPLOY / "kubernetes" / "postgres").glob("*.yaml"))
# What the service may do with each table.
RIGHTS: Final = {name: set(rights) for name, rights in PRIVILEGES.items()}
# A part of what it may not.
FORBIDDEN: Final = (
    "CREATE TABLE mine ()",
    "CREATE TABLE public.mine ()",
    "CREATE TEMPORARY TABLE mine ()",
    "CREATE SCHEMA mine",
    "DROP TABLE claim",
    "DROP INDEX claim_one_active_per_account",
    "ALTER TABLE claim ADD COLUMN mine text",
    "ALTER TABLE claim DISABLE TRIGGER ALL",
    "TRUNCATE claim",
    "DELETE FROM account",
    "DELETE FROM liquidation",
    "UPDATE claim_event SET reason = ''",
    "UPDATE liquidation_schema SET oldest_service = 1",
    "SELECT setval('claim_fencing_token_seq', 1)",
    "SET ROLE {owner}",
)


@dataclass(frozen=True)
class Roles:
    """A database of the service, and who may use it; roles belong to the whole server."""

    database: str
    owner: str
    service: str
    schema: str

    def run_script(self, user: str | None = None) -> None:
        """Runs the script as an operator does; as a superuser where no `user` is named."""
        done = subprocess.run(
            [
                *(_psql(), "--no-psqlrc", "--quiet", "--dbname", self.as_user(user)),
                *("--set", f"owner={self.owner}", "--set", f"service={self.service}"),
                *("--set", f"schema={self.schema}", "--set", "connections=40"),
                *("--file", str(ROLES)),
            ],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    def as_user(self, user: str | None) -> str:
        """The URL of the database for a role."""
        parts = urlsplit(self.database)
        return parts._replace(
            netloc=f"{user or parts.username}@{parts.hostname}:{parts.port}"
        ).geturl()

    async def migrate(self) -> SchemaState:
        """What `liquidation db migrate` does, as the owner."""
        url = self.as_user(self.owner)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            return await migrate(connection)

    def rights(self) -> dict[str, set[str]]:
        """What the service may do with each table of the schema."""
        with psycopg.connect(self.database) as connection:
            rows = connection.execute(
                """
                SELECT relname, array_agg(privilege_type::text)
                FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
                CROSS JOIN aclexplode(coalesce(relacl, acldefault('r', relowner))) AS granted
                WHERE nspname = %s AND relkind IN ('r', 'S') AND grantee = %s::regrole
                GROUP BY relname
                """,
                (self.schema, self.service),
            )
            return {name: set(rights) for name, rights in rows}


def _psql() -> str:
    """The machine's psql, or the one that a package of the tests carries."""
    return shutil.which("psql") or str(carried() / "psql")


@pytest.fixture
def roles(postgres_database: str) -> Iterator[Roles]:
    """Names that nobody else uses; whatever was made of them is dropped."""
    name = urlsplit(postgres_database).path.strip("/")
    roles = Roles(postgres_database, f"{name}_Owner", f"{name}-service", "liquidation")
    yield roles
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        for role in (roles.service, roles.owner, f"{name}_dba"):
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,)).fetchone():
                for statement in ("REASSIGN OWNED BY {} TO CURRENT_USER", "DROP OWNED BY {}"):
                    connection.execute(sql.SQL(statement).format(sql.Identifier(role)))
        for role in (roles.service, roles.owner, f"{name}_dba"):
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@pytest.fixture
async def ready(roles: Roles) -> Roles:
    """A database as the page on PostgreSQL sets it up: script, tables, script again."""
    roles.run_script()
    await roles.migrate()
    roles.run_script()
    return roles


async def test_the_role_of_the_service_does_all_that_the_service_does(ready: Roles) -> None:
    await serve(ready.as_user(ready.service))


def test_the_role_of_the_service_does_nothing_else(ready: Roles) -> None:
    with psycopg.connect(ready.as_user(ready.service), autocommit=True) as connection:

        def refused(statement: str) -> bool:
            try:
                connection.execute(sql.SQL(statement).format(owner=sql.Identifier(ready.owner)))
            except errors.InsufficientPrivilege:
                return True
            return False

        assert [each for each in FORBIDDEN if not refused(each)] == []


def test_the_service_has_the_rights_that_it_needs_and_no_others(ready: Roles) -> None:
    assert ready.rights() == RIGHTS


async def test_a_table_that_a_later_version_brings_is_the_services_to_use(ready: Roles) -> None:
    with psycopg.connect(ready.as_user(ready.owner)) as connection:
        connection.execute("CREATE TABLE later (id bigint GENERATED BY DEFAULT AS IDENTITY)")

    with psycopg.connect(ready.as_user(ready.service)) as connection:
        assert connection.execute("INSERT INTO later DEFAULT VALUES RETURNING id").fetchone() == (
            1,
        )


async def _answers(store: AwaitedStore) -> bool:
    try:
        await store.probe()
    except StoreUnavailableError:
        return False
    return True


async def test_only_the_owner_makes_the_tables(roles: Roles) -> None:
    roles.run_script()
    store = postgres_store(roles.as_user(roles.service), timeout_s=0.5)
    try:
        with pytest.raises(StoreUnavailableError, match="run `liquidation db migrate`"):
            await store.probe()
        assert (await roles.migrate()).version == NEWEST
        roles.run_script()
        # It comes by itself, without a restart.
        async with asyncio.timeout(30):
            while not await _answers(store):
                pass
    finally:
        await store.aclose()
    assert roles.rights() == RIGHTS


def test_nobody_else_is_let_into_the_database(ready: Roles) -> None:
    stranger = f"{ready.owner}_stranger"
    name = sql.Identifier(stranger)
    with psycopg.connect(ready.database, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
        try:
            with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
                psycopg.connect(ready.as_user(stranger))
        finally:
            connection.execute(sql.SQL("DROP ROLE {}").format(name))


async def test_the_owner_of_the_database_may_run_it_who_is_no_superuser(roles: Roles) -> None:
    name = urlsplit(roles.database).path.strip("/")
    dba = f"{name}_dba"
    with psycopg.connect(roles.database, autocommit=True) as connection:
        for statement in ("CREATE ROLE {1} LOGIN CREATEROLE", "ALTER DATABASE {0} OWNER TO {1}"):
            connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(dba)))

    roles.run_script(dba)
    await roles.migrate()
    roles.run_script(dba)

    assert roles.rights() == RIGHTS


def test_the_sql_of_the_document_runs(ready: Roles) -> None:
    statements = [
        block.text for block in blocks(DOCS / "how-to" / "postgresql.md") if block.language == "sql"
    ]
    with psycopg.connect(ready.database, options=f"-c search_path={ready.schema}") as connection:
        for each in statements:
            connection.execute(each)
        connection.rollback()

    assert len(statements) > 3


def _resource(kind: str) -> dict[str, Any]:
    (found,) = (
        each
        for manifest in MANIFESTS
        for each in deployments.resources(manifest)
        if each["kind"] == kind
    )
    return found


def _by_name(entries: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in entries}


def test_the_pod_is_that_of_the_file_but_for_its_store() -> None:
    theirs = copy.deepcopy(deployments.resource("StatefulSet")["spec"]["template"])
    ours = copy.deepcopy(_resource("Deployment")["spec"]["template"])
    spread = ours["spec"].pop("topologySpreadConstraints")
    volumes = (_by_name(each["spec"].pop("volumes")) for each in (theirs, ours))
    their_volumes, our_volumes = volumes
    their_sidecar, our_sidecar = (each["spec"]["initContainers"][0] for each in (theirs, ours))
    mounts = [_by_name(each.pop("volumeMounts")) for each in (their_sidecar, our_sidecar)]
    variables = [_by_name(each.pop("env")) for each in (their_sidecar, our_sidecar)]

    assert ours == theirs
    assert spread[0]["labelSelector"]["matchLabels"].items() <= ours["metadata"]["labels"].items()
    assert our_volumes.keys() - their_volumes.keys() == {"postgres"}
    assert our_volumes | their_volumes == our_volumes
    assert mounts[0].keys() - mounts[1].keys() == {"store"}
    assert mounts[1].keys() - mounts[0].keys() == {"postgres"}
    changed = {name for name in variables[1] if variables[1][name] != variables[0].get(name)}
    assert changed == {"LIQUIDATION_STORE", "PGPASSWORD"}


@pytest.mark.parametrize("kind", ["Deployment", "Job"])
def test_a_pod_gives_its_password_to_the_database_that_it_made_sure_of(kind: str) -> None:
    pod = _resource(kind)["spec"]["template"]["spec"]
    (container,) = pod["initContainers"] if kind == "Deployment" else pod["containers"]
    variables = _by_name(container["env"])
    mounts = {each["mountPath"] for each in container["volumeMounts"]}

    location = parse_location(variables["LIQUIDATION_STORE"]["value"])

    assert isinstance(location, PostgresDatabase)
    assert "sslmode=verify-full" in location.url
    assert "target_session_attrs=read-write" in location.url
    root = location.url.partition("sslrootcert=")[2].partition("&")[0]
    assert str(Path(root).parent) in mounts
    assert "secretKeyRef" in variables["PGPASSWORD"]["valueFrom"]
    assert urlsplit(location.url).password is None
    assert variables.keys() - {"PGPASSWORD"} <= serve_flags().keys()
    assert container["image"] == deployments.sidecar()["image"]


def test_the_job_makes_the_tables(roles: Roles, tmp_path: Path) -> None:
    roles.run_script()
    (container,) = _resource("Job")["spec"]["template"]["spec"]["containers"]

    done = subprocess.run(
        [str(Path(sys.executable).parent / "liquidation"), *container["args"]],
        check=False,
        cwd=tmp_path,
        env={**os.environ, "LIQUIDATION_STORE": roles.as_user(roles.owner)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
    roles.run_script()
    assert roles.rights() == RIGHTS


def test_the_image_has_the_driver() -> None:
    assert "psycopg-binary" in {each.name for each in locked(IMAGE) if each.here}
