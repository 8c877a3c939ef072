"""The documents are current: what they name exists, and what they show is what one gets."""

import json
import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path

import pytest
from google.protobuf.json_format import ParseDict

from liquidation.cli.reference import errors_markdown, settings_markdown
from liquidation.rules.policy import RULE_NAMES, Mode, Policy
from liquidation.v1 import claim_service_pb2, liquidation_service_pb2
from tests import samples
from tests.service.test_examples import EXAMPLES, FIRST_CALL, ROOT, run_python
from tests.sidecars import Refused, Running, running

DOCS = ROOT / "docs"
README = ROOT / "README.md"
ARCHITECTURE = DOCS / "explanation" / "architecture.md"
DOCUMENTS = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted(DOCS.rglob("*.md")),
]
DEFAULT_ADDRESS = "127.0.0.1:50051"


@dataclass(frozen=True)
class Block:
    """A fenced block of a document, with the text that stands between it and the one before."""

    path: Path
    language: str
    text: str
    before: str

    def __str__(self) -> str:
        return f"{self.path.name}: {self.text.splitlines()[0]}"


def blocks(path: Path) -> list[Block]:
    parts = re.split(r"^```(\w*)\n(.*?)^```$", _text(path), flags=re.MULTILINE | re.DOTALL)
    return [
        Block(path, language, text, before)
        for before, language, text in zip(parts[0::3], parts[1::3], parts[2::3], strict=False)
    ]


def rows(path: Path) -> list[list[str]]:
    """The cells of every table row of a document."""
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in _text(path).splitlines()
        if line.startswith("|")
    ]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _prose(path: Path) -> str:
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", _text(path), flags=re.MULTILINE | re.DOTALL)


ALL_BLOCKS = [block for path in DOCUMENTS for block in blocks(path)]
# What is followed at once by a text block is run, and the text is what it prints.
RUN = [
    (block, following.text)
    for block, following in pairwise(ALL_BLOCKS)
    if (following.path, following.language, following.before.strip()) == (block.path, "text", "")
]
SCRIPTS = [(block, prints) for block, prints in RUN if block.language == "python"]
COMMANDS = [(block, prints) for block, prints in RUN if block.language == "sh"]


def test_what_attacks_a_promise_is_there() -> None:
    text = _text(DOCS / "explanation" / "guarantees.md")
    targets = re.findall(r"^([a-z-]+):", _text(ROOT / "Makefile"), flags=re.MULTILINE)
    attacking = re.findall(r"`(tests/[a-z_/]+(?:\.py)?)`", text)

    assert [path for path in attacking if not (ROOT / path).exists()] == []
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= {*targets}
    # Every attack that is a target of its own is told.
    assert {"oracle", "mutation", "fuzz", "hostile", "model", "interop", "soak"} <= {
        *re.findall(r"^\| `make ([a-z-]+)`", text, flags=re.MULTILINE)
    }


def test_the_table_of_error_codes_is_the_catalogue() -> None:
    assert _text(DOCS / "reference" / "errors.md") == errors_markdown()


def test_the_page_of_settings_is_what_can_be_set() -> None:
    assert _text(DOCS / "reference" / "settings.md") == settings_markdown()


def test_every_rule_is_a_row_in_the_order_in_which_they_decide() -> None:
    numbered = [row for row in rows(DOCS / "reference" / "rules.md") if row[0].isdigit()]

    assert [row[1] for row in numbered] == [f"`{name}`" for name in RULE_NAMES]
    assert [int(row[0]) for row in numbered] == list(range(1, len(RULE_NAMES) + 1))


def test_every_rule_has_its_section() -> None:
    sections = re.findall(
        r"^## (\d+)\. `(\w+)`$", _text(DOCS / "reference" / "rules.md"), flags=re.MULTILINE
    )

    assert sections == [(str(number), name) for number, name in enumerate(RULE_NAMES, start=1)]


@pytest.fixture
def keys_described() -> dict[str, set[str]]:
    """What docs/reference/decision-log.md names, by the titles of its sections."""
    sections = re.split(r"^## ", _text(DOCS / "reference" / "decision-log.md"), flags=re.MULTILINE)
    return {text.partition("\n")[0]: set(re.findall(r"`(\w+)`", text)) for text in sections}


async def test_every_key_of_a_log_line_is_documented(
    tmp_path: Path, keys_described: dict[str, set[str]]
) -> None:
    policy = Policy(modes={"least_request_ratio": Mode.SHADOW})
    put = liquidation_service_pb2.PutLiquidationRequest(
        liquidation=samples.snapshot(samples.high())
    )
    async with running(tmp_path, policy) as server:
        await server.check(samples.check(samples.low_request({"ratio_qty_request": "0.1"})))
        await server.call("LiquidationService.PutLiquidation", put)
        (decision,) = await server.lines("decision", 1)
        (liquidation,) = await server.lines("liquidation", 1)

    assert "shadow" in decision
    assert [
        row[0] for row in rows(DOCS / "reference" / "decision-log.md")[2 : len(decision) + 2]
    ] == [f"`{key}`" for key in decision]
    assert set(liquidation) <= keys_described["Keys of a `liquidation`"]


async def test_every_key_of_a_line_on_a_claim_is_documented(
    server: Running, keys_described: dict[str, set[str]]
) -> None:
    begin = ParseDict(
        samples.low_request() | {"request_id": "r-1"}, claim_service_pb2.BeginClaimRequest()
    )
    claim = (await server.call("ClaimService.BeginClaim", begin)).claim
    for claim_id in (claim.claim_id, "nobody"):
        cancel = claim_service_pb2.CancelClaimRequest(claim_id=claim_id, force=True, reason="why")
        with suppress(Refused):
            await server.call("ClaimService.CancelClaim", cancel)

    (begun, cancelled, unknown) = await server.lines("claim", 3)
    of_claim = keys_described["Keys of a `claim`"] | keys_described["Keys of a `decision`"]
    assert set(begun) <= of_claim
    assert set(cancelled) | set(cancelled["request"]) <= of_claim
    assert set(unknown) <= of_claim


@pytest.mark.parametrize(
    "block", [block for block in ALL_BLOCKS if block.language == "json"], ids=str
)
def test_a_json_block_is_json(block: Block) -> None:
    assert json.loads(block.text)


@pytest.mark.parametrize(("script", "prints"), SCRIPTS, ids=str)
async def test_a_script_prints_what_stands_below_it(
    server: Running, tmp_path: Path, script: Block, prints: str
) -> None:
    file = tmp_path / "script.py"
    file.write_text(script.text.replace(DEFAULT_ADDRESS, server.address), encoding="utf-8")

    assert await run_python(file) == prints


def test_the_first_call_is_the_example() -> None:
    (first_call,) = [script.text for script, _ in SCRIPTS if script.path == README]

    assert _text(EXAMPLES / FIRST_CALL).endswith(f'"""\n\n{first_call}')


@pytest.mark.parametrize(("command", "prints"), COMMANDS, ids=str)
async def test_a_command_prints_what_stands_below_it(command: Block, prints: str) -> None:
    name, *arguments = shlex.split(command.text.replace("\\\n", " "))
    assert name.endswith("liquidation")

    printed = await run_python("-m", "liquidation.cli", *arguments)

    assert _lines(printed) == _lines(prints)


def _lines(text: str) -> list[str]:
    """The lines of a table on the screen, without the blanks that frame it."""
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize(
    "block",
    [
        block
        for block in ALL_BLOCKS
        if block.language in {"python", "js", "go"} and block not in {each for each, _ in SCRIPTS}
    ],
    ids=str,
)
def test_a_piece_of_code_is_part_of_an_example(block: Block) -> None:
    kind = {"python": "*.py", "js": "node/*.mjs", "go": "go/*.go"}[block.language]

    assert any(block.text.strip() in _text(example) for example in EXAMPLES.glob(kind))


def _links() -> Iterator[tuple[Path, str]]:
    for path in DOCUMENTS:
        for target in re.findall(r"\[[^]]*\]\(([^)\s]+)\)", _prose(path)):
            if "://" not in target:
                yield path, target


@pytest.mark.parametrize(
    ("path", "target"),
    list(_links()),
    ids=lambda each: each.name if isinstance(each, Path) else each,
)
def test_a_link_leads_to_a_file_and_a_heading(path: Path, target: str) -> None:
    name, _, heading = target.partition("#")
    file = (path.parent / name).resolve() if name else path

    assert file.exists()
    if heading:
        titles = re.findall(r"^#+ (.*)$", _prose(file), flags=re.MULTILINE)
        assert heading in {_anchor(title) for title in titles}


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", _text(ROOT / "Makefile"), flags=re.MULTILINE))

    named = {
        target
        for path in DOCUMENTS
        for target in re.findall(r"(?<![\w-])make ([a-z-]+)(?=[ `\n)])", _code(path))
    }

    assert {"run", "test"} <= named <= targets


def _code(path: Path) -> str:
    """Fenced blocks and inline code of a document."""
    spans = re.findall(r"`[^`\n]+`", _prose(path))
    return "\n".join([*(block.text for block in blocks(path)), *spans])


def _layout() -> Iterator[Path]:
    """The paths, which may be patterns, that the page on the architecture lists by room."""
    block = next(block for block in blocks(ARCHITECTURE) if "rules/" in block.text)
    room = Path()
    for line in block.text.splitlines():
        depth = len(line) - len(line.lstrip(" "))
        names = takewhile(re.compile(r"[\w*/]+(/|\.py)").fullmatch, line.split())
        if depth <= 4:
            for name in names:
                path = (Path(), Path("liquidation"), room)[depth // 2] / name
                if depth == 2:
                    room = path
                yield path


def test_every_path_in_the_layout_exists() -> None:
    paths = list(_layout())

    assert len(paths) > 10
    assert [path for path in paths if not any(ROOT.glob(str(path)))] == []
