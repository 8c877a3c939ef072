"""Every method of the three services: any bytes get an answer that the contract knows, and a line.

What a line tells is decided once more, and has to come out as it stands there.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor

from liquidation.analysis.reader import Entry
from liquidation.analysis.redecide import RulesInForce
from liquidation.analysis.replay import Replay
from liquidation.config.live import Configuration
from liquidation.rules.errors import OWN_WORDS, TABLE
from liquidation.rules.policy import RULE_NAMES, read_policy
from tests.analysis.schema import problems_of
from tests.attacks.fuzz.in_process import Answered, InProcess
from tests.attacks.fuzz.mutations import mutated
from tests.attacks.fuzz.seeds import seeds
from tests.attacks.fuzz.steps import OURS, Step, input_of, pieces
from tests.attacks.fuzz.target import Look, Target
from tests.service.test_refusal_size import size_of
from tests.sidecars import Details, details_of

_MAX_TRAILERS: Final = 4096
# Codes for what is our own or the machine's doing; no caller's bytes may bring one about.
_NOT_A_CALLERS: Final = frozenset({-1000, -1003, -1011})
_TOLD_AS: Final = frozenset(
    (row.code, row.kind.name, row.kind.http_status, int(row.grpc))
    for row in (*TABLE, *OWN_WORDS)
    if row.emitted and row.code not in _NOT_A_CALLERS
)
# Calls of which each leaves exactly one line; of a batch and a stream it is one an item.
_LOGGED: Final = frozenset(
    {"CheckClaim", "BatchCheckClaims", "StreamCheckClaims"}
    | {"BeginClaim", "RenewClaim", "CompleteClaim", "CancelClaim"}
)
# The schema takes longer than the call: it is asked about each shape of a line, and one line in
# so many.
_SAMPLE: Final = 64
_FREE: Final = [
    rule for rule in RULE_NAMES if rule not in {"well_formed", "liquidation_known", "tier_shape"}
]


def _rules(mode: str) -> str:
    return f'version = "{mode}"\n[modes]\n' + "".join(f'{rule} = "{mode}"\n' for rule in _FREE)


CONFIGURATIONS: Final = (
    Configuration(read_policy('version = "built-in"')),
    Configuration(read_policy(_rules("off"))),
    Configuration(read_policy(_rules("shadow")), candidate=read_policy(_rules("enforce"))),
)


@contextmanager
def _opened(directory: Path) -> Iterator[Look]:
    service = InProcess(directory, CONFIGURATIONS)
    try:
        yield _Caller(service).look
    finally:
        service.close()


class _Caller:
    """Sends what an input says, and holds what comes of it against the contract."""

    def __init__(self, service: InProcess) -> None:
        self._service = service
        self._replays = [RulesInForce(policy) for policy in service.policies]
        self._seq = 0
        self._shapes: set[tuple[object, ...]] = set()
        self._last_claim = OURS

    def look(self, data: bytes) -> None:
        self._service.forget()
        self._last_claim = OURS
        rules, steps = input_of(data)
        rules %= len(CONFIGURATIONS)
        for step in steps:
            self._step(rules, step)
            assert self._service.in_progress(rules) == 0

    def _step(self, rules: int, step: Step) -> None:
        if step.method is None:
            lines = self._service.pass_time(rules, step.payload[0] if step.payload else 0)
            assert all(line["change"] == "expire" for line in self._lines(rules, lines))
            return
        payload = step.payload.replace(OURS, self._last_claim)
        requests = [payload]
        if step.method.client_streaming:
            requests = list(pieces(payload))
        answered = self._service.call(rules, step.method, requests)
        self._answer(rules, step.method, len(requests), answered)

    def _answer(self, rules: int, method: MethodDescriptor, sent: int, answered: Answered) -> None:
        lines = self._lines(rules, answered.lines)
        told = [
            each for each in lines if each["rpc"] == method.name and each["event"] != "liquidation"
        ]
        if answered.refused is not None:
            details = answered.refused.details
            assert details is not None
            assert not method.client_streaming, "an item ended its stream"
            assert details.status.code == answered.refused.grpc_code.value[0]
            assert size_of(answered.refused) < _MAX_TRAILERS, size_of(answered.refused)
            outcomes = [_refusal(details)]
        else:
            responses = [_response(method, each) for each in answered.responses]
            outcomes = [each for response in responses for each in _outcomes(method, response)]
            assert not method.client_streaming or len(outcomes) == sent
            if method.name == "BeginClaim":
                self._last_claim = responses[0].claim.claim_id.encode()
        # Calls that decide nothing and change no claim leave no such line.
        logged = outcomes if method.name in _LOGGED else []
        assert [(each["code"], each["message"]) for each in told] == logged

    def _lines(self, rules: int, lines: Sequence[bytes]) -> list[dict[str, Any]]:
        """The lines, each sound by itself and without a gap between them."""
        replay = Replay(self._replays[rules])
        told = []
        for line in lines:
            fields = json.loads(line)
            assert fields["level"] == "info", fields
            self._seq += 1
            assert fields["seq"] == self._seq
            shape = (
                *(fields.get(key) for key in ("event", "rpc", "code", "rule", "change")),
                *fields,
            )
            if shape not in self._shapes or self._seq % _SAMPLE == 0:
                self._shapes.add(shape)
                assert problems_of([line]) == []
            replay.add(Entry(fields, line, "log", self._seq))
            told.append(fields)
        assert replay.agrees, (replay.differences, replay.failures)
        return told


def _response(method: MethodDescriptor, data: bytes) -> Any:
    return message_factory.GetMessageClass(method.output_type).FromString(data)


def _outcomes(method: MethodDescriptor, response: Any) -> list[tuple[int, str]]:
    """The codes and words in a response, 0 for what was accepted."""
    if method.name == "StreamCheckClaims":
        return [_result(response.result)]
    if method.name == "BatchCheckClaims":
        return [_result(each) for each in response.results]
    assert "decision" not in method.output_type.fields_by_name or response.decision.accepted
    return [(0, "")]


def _result(result: Any) -> tuple[int, str]:
    """What one of several was told."""
    if result.WhichOneof("result") == "accepted":
        assert result.accepted.decision.accepted
        return 0, ""
    return _refusal(details_of(result.refused))


def _refusal(details: Details) -> tuple[int, str]:
    error = details.error
    assert (error.code, error.name, error.http_status, details.status.code) in _TOLD_AS, error
    assert details.status.message == error.message
    assert details.info.metadata["code"] == str(error.code)
    assert not error.decision.accepted
    return error.code, error.message


TARGET: Final = Target(_opened, seeds, longest=4096, mutate=mutated)
