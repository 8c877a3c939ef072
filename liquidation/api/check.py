"""LiquidationRulesService: decides, and changes nothing.

Every request ends in exactly one decision and one log line, even on a store that does not answer,
an internal error or a caller who is gone. A check, an item of a batch and one of a stream are
decided by the same two functions: `_take_up` parses, `_decide` decides and writes the line.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Final

from google.protobuf.message import Message

from liquidation.api.admission import ABANDONED, Admission
from liquidation.api.calls import STORE_NOT_REACHED, ask, compared, refusal_of, reply
from liquidation.api.convert import fill_checked
from liquidation.api.messages import MAX_UNKNOWN, parse_message, unknown_fields, unreadable
from liquidation.api.status import fill_result, refuse
from liquidation.auth.keys import Permission
from liquidation.decisionlog.entry import CallInfo
from liquidation.decisionlog.writer import DecisionLog
from liquidation.rules.decision import Decision
from liquidation.rules.evaluate import evaluate
from liquidation.rules.model import ClaimRequest, FieldViolation, Refusal, StoredState
from liquidation.rules.parse import parse_request
from liquidation.rules.policy import MAX_BATCH, ActivePolicy, Mode
from liquidation.store.base import StateQuery, Store
from liquidation.transport.base import Call, Exchange, Handler, Step, Unary, Work
from liquidation.v1 import rules_service_pb2 as pb

# Requests of one batch that are decided before other calls get their turn; fewer if some of them
# are explained, which takes about three times as long.
_CHUNK: Final = 32
_EXPLAINED_CHUNK: Final = 8
_BATCH_SIZE: Final = FieldViolation("requests", f"must have 1 to {MAX_BATCH} entries")
# How a stream ends whose caller does not take the answers; the number is RESOURCE_EXHAUSTED.
_SHORT_OF_MEMORY: Final = (8, "The server is short of memory; open another stream later.")
_NOTHING: Final = unreadable()


@dataclass(slots=True, eq=False)
class _Check:
    """A request on its way to its decision, by the rules in force when it was taken up.

    `refusal` says why the rules are not asked, or why the store could not be.
    """

    decision_id: str
    info: CallInfo
    rules: ActivePolicy
    sent: Message | bytes
    request: ClaimRequest = _NOTHING
    refusal: Refusal | None = None
    query: StateQuery | None = None
    state: StoredState | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    """The requests of a batch. `own` are its own unknown fields; `clean`: none at any depth."""

    requests: Sequence[pb.CheckClaimRequest]
    own: tuple[str, ...]
    clean: bool

    def unknown_in(self, request: pb.CheckClaimRequest) -> tuple[str, ...]:
        return () if self.clean else (self.own + unknown_fields(request))[:MAX_UNKNOWN]


class CheckHandlers:
    """The handlers of LiquidationRulesService that decide."""

    def __init__(
        self,
        store: Store,
        rules: Callable[[], ActivePolicy],
        log: DecisionLog,
        admission: Admission,
        new_id: Callable[[], str],
    ) -> None:
        """`rules` are asked for once a request, so each is decided by one version of them."""
        self._store = store
        self._rules = rules
        self._log = log
        self._admission = admission
        self._new_id = new_id
        self.handlers: Mapping[str, Handler] = {
            "CheckClaim": Unary(self._check_claim),
            "BatchCheckClaims": Unary(self._batch_check_claims),
            "StreamCheckClaims": Exchange(self._stream_check_claims),
        }

    def _check_claim(self, call: Call, data: bytes) -> Work:
        info = self._admission.admit("CheckClaim", Permission.CHECK, call)
        try:
            rules = self._rules()
            outside = self._outside(call, info, rules)
            largest = rules.policy.limits.max_request_bytes
            sent, unknown = parse_message(pb.CheckClaimRequest, data, largest)
            check = self._take_up(info, rules, sent, data, outside, unknown)
            if not self._load((check,)):
                return self._later(call, (check,), partial(self._answer, call, check))
            self._answer(call, check)
        except Exception as error:  # noqa: BLE001 - the error boundary, told in full
            self._fault(call, info, data, error)
        return None

    def _later(
        self, call: Call, checks: Sequence[_Check], finish: Callable[[], None]
    ) -> Iterator[Step]:
        with self._admission.limiter.place():
            try:
                yield from self._wait_for_states(call, checks)
                finish()
            except Exception as error:  # noqa: BLE001 - as in `_check_claim`
                self._fault(call, checks[0].info, b"", error)

    def _answer(self, call: Call, check: _Check) -> None:
        decision = self._decide(check)
        if decision.refusal is None:
            response = pb.CheckClaimResponse()
            fill_checked(response, check.decision_id, decision)
            call.reply(response.SerializeToString())
            self._admission.answered(check.info, 0)
        else:
            refuse(call, decision.refusal, check.decision_id, decision)
            self._admission.answered(check.info, decision.refusal.row.code)

    def _fault(self, call: Call, info: CallInfo, data: bytes, error: Exception) -> None:
        """Ends a call with -1000 because of an error that no single request met."""
        decision_id = self._new_id()
        refusal = refusal_of(error, self._log, decision_id)
        decision = Decision(refusal, self._rules().policy.version)
        self._log.decision(decision_id, info, _NOTHING, data, decision)
        refuse(call, refusal, decision_id, decision)
        self._admission.answered(info, refusal.row.code)

    def _batch_check_claims(self, call: Call, data: bytes) -> Work:
        info = self._admission.admit("BatchCheckClaims", Permission.CHECK, call)
        return self._batch(call, data, info)

    def _batch(self, call: Call, data: bytes, info: CallInfo) -> Iterator[Step]:
        with self._admission.limiter.place() as admitted:
            try:
                batch = self._parsed_batch(call, data, info, admitted=admitted)
                if isinstance(batch, _Check):
                    self._answer(call, batch)
                    return
                response = pb.BatchCheckClaimsResponse()
                yield from self._check_batch(call, info, batch, response, admitted=admitted)
                reply(self._admission, call, info, response)
            except Exception as error:  # noqa: BLE001 - as in `_check_claim`
                self._fault(call, info, data, error)

    def _parsed_batch(
        self, call: Call, data: bytes, info: CallInfo, *, admitted: bool
    ) -> _Batch | _Check:
        """The batch, or the one check that stands for it if it is refused as a whole."""
        rules = self._rules()
        outside = self._admission.refusal(call, info, full=not admitted)
        violation = FieldViolation("", "")
        if info.refusal is None:
            largest = rules.policy.limits.max_request_bytes
            batch, unknown = parse_message(pb.BatchCheckClaimsRequest, data, largest)
            if isinstance(batch, FieldViolation):
                violation = batch
            elif not 1 <= len(batch.requests) <= MAX_BATCH:
                violation = _BATCH_SIZE
            else:
                own = unknown_fields(batch, deep=False) if unknown else ()
                if not own or rules.policy.mode("known_fields") is not Mode.ENFORCE:
                    return _Batch(batch.requests, own, clean=not unknown)
                request = unreadable(unknown_fields=own)
                return _Check(self._new_id(), info, rules, data, request, outside)
        return self._take_up(info, rules, violation, data, outside)

    def _check_batch(
        self,
        call: Call,
        info: CallInfo,
        batch: _Batch,
        response: pb.BatchCheckClaimsResponse,
        *,
        admitted: bool,
    ) -> Iterator[Step]:
        """Decides the requests of a batch in order, chunk by chunk."""
        size = _EXPLAINED_CHUNK if any(each.explain for each in batch.requests) else _CHUNK
        requests = iter(batch.requests)
        reached = True
        while chunk := tuple(islice(requests, size)):
            outside = self._admission.refusal(call, info, full=not admitted)
            checks = [
                self._take_up(info, self._rules(), each, b"", outside, batch.unknown_in(each))
                for each in chunk
            ]
            if not reached:
                _refuse_all(checks, STORE_NOT_REACHED)
            elif not self._load(checks):
                yield from self._wait_for_states(call, checks)
            for check in checks:
                fill_result(response.results.add(), check.decision_id, self._decide(check))
                # The store is waited for once a call, not once a chunk.
                reached = reached and check.refusal is not STORE_NOT_REACHED
            yield Step.MORE

    def _stream_check_claims(self, call: Call, messages: Sequence[bytes]) -> Work:
        # Each time anew: a key may be revoked while its stream is open.
        info = self._admission.admit("StreamCheckClaims", Permission.CHECK, call)
        try:
            rules = self._rules()
            outside = self._outside(call, info, rules)
            if info.refusal is not None:
                check = self._take_up(info, rules, FieldViolation("", ""), messages[0], outside)
                self._answer(call, check)
                return None
            items = [self._item(info, rules, data, outside) for data in messages]
            checks = [check for _, check in items]
            if not self._load(checks):
                return self._later(call, checks, partial(self._send, call, items))
            self._send(call, items)
        except Exception as error:  # noqa: BLE001 - as in `_check_claim`
            self._fault(call, info, messages[0], error)
        return None

    def _item(
        self, info: CallInfo, rules: ActivePolicy, data: bytes, outside: Refusal | None
    ) -> tuple[str, _Check]:
        largest = rules.policy.limits.max_request_bytes
        item, unknown = parse_message(pb.StreamCheckClaimsRequest, data, largest)
        if isinstance(item, FieldViolation):
            return "", self._take_up(info, rules, item, data, outside)
        if unknown:
            own = unknown_fields(item, deep=False)
            unknown = (own + unknown_fields(item.request))[:MAX_UNKNOWN]
        check = self._take_up(info, rules, item.request, data, outside, unknown)
        return item.correlation_id, check

    def _send(self, call: Call, items: Sequence[tuple[str, _Check]]) -> None:
        for correlation_id, check in items:
            response = pb.StreamCheckClaimsResponse(correlation_id=correlation_id)
            fill_result(response.result, check.decision_id, self._decide(check))
            if not call.send(response.SerializeToString()):
                call.refuse(*_SHORT_OF_MEMORY)
                return

    def _outside(self, call: Call, info: CallInfo, rules: ActivePolicy) -> Refusal | None:
        """Why a request is not to be decided that takes no place, since it is answered at once."""
        admission = self._admission
        full = admission.limiter.in_progress >= rules.policy.limits.max_concurrent_calls
        return admission.refusal(call, info, full=full)

    def _take_up(
        self,
        info: CallInfo,
        rules: ActivePolicy,
        sent: pb.CheckClaimRequest | FieldViolation,
        data: bytes,
        outside: Refusal | None,
        unknown: tuple[str, ...] = (),
    ) -> _Check:
        """A request parsed, or with the refusal if it is not to be decided.

        `sent` may be what is wrong with `data`, if that is no message. `unknown` are the unknown
        fields in it and in what it stands in.
        """
        if isinstance(sent, FieldViolation):
            request = unreadable(sent) if sent.field else _NOTHING
            return _Check(self._new_id(), info, rules, data, request, outside)
        check = _Check(self._new_id(), info, rules, sent)
        try:
            per_second = rules.policy.limits.liquidator_requests_per_second
            if per_second and outside is None:
                outside = self._admission.rate(sent.terms.liquidator_id, per_second)
            if outside is not None:
                check.refusal = outside
                check.request = unreadable(unknown_fields=unknown) if unknown else _NOTHING
                return check
            request = check.request = parse_request(sent, unknown, explain=sent.explain)
            if request.terms is not None:
                check.query = StateQuery.about(request.terms, request.snapshot)
        except Exception as error:  # noqa: BLE001 - a fault of ours ends this request alone
            check.refusal = refusal_of(error, self._log, check.decision_id)
        return check

    def _load(self, checks: Sequence[_Check]) -> bool:
        """Fills in what is stored about each request; False if the store has to be waited for."""
        queries = [check.query for check in checks if check.query is not None]
        try:
            states = self._store.states(queries) if queries else ()
        except Exception as error:  # noqa: BLE001 - as in `_take_up`
            self._not_reached(checks, error)
            return True
        if states is not None:
            _fill_in(checks, states)
        return states is not None

    def _wait_for_states(self, call: Call, checks: Sequence[_Check]) -> Iterator[Step]:
        queries = [check.query for check in checks if check.query is not None]
        try:
            states = yield from ask(call, partial(self._store.read_states, queries))
        except Exception as error:  # noqa: BLE001 - as in `_take_up`
            self._not_reached(checks, error)
        else:
            _fill_in(checks, states)
        if call.cancelled:
            for check in checks:
                check.refusal, check.query = ABANDONED, None

    def _not_reached(self, checks: Sequence[_Check], error: Exception) -> None:
        """The store could not be asked; told once for all requests that would have to."""
        asking = [check.decision_id for check in checks if check.query is not None]
        _refuse_all(checks, refusal_of(error, self._log, *asking))

    def _decide(self, check: _Check) -> Decision:
        """The decision on a request, once its line is written."""
        policy, refusal = check.rules.policy, check.refusal
        candidate = None
        try:
            if refusal is None or check.query is not None:
                decision = evaluate(policy, check.request, check.state)
                if refusal is None:
                    other = check.rules.candidate
                    candidate = compared(decision, other, self._log, check.decision_id)
                elif decision.refusal is None:
                    # Rules that need no store accept it; the others could not be asked.
                    decision = replace(decision, refusal=refusal)
            else:
                decision = Decision(refusal, policy.version)
        except Exception as error:  # noqa: BLE001 - as in `_take_up`
            decision = Decision(refusal_of(error, self._log, check.decision_id), policy.version)
        self._log.decision(
            check.decision_id, check.info, check.request, check.sent, decision, candidate
        )
        return decision


def _fill_in(checks: Sequence[_Check], states: Sequence[StoredState]) -> None:
    found = iter(states)
    for check in checks:
        if check.query is not None:
            check.state = next(found)


def _refuse_all(checks: Sequence[_Check], refusal: Refusal) -> None:
    for check in checks:
        if check.query is not None:
            check.refusal = refusal
