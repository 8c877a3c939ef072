"""What clients saw, and the judge of it, who knows nothing of the service but its promises."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

# The judge takes times of one host's wall clock from two processes; they differ by less than this.
CLOCK_SLACK_S = 0.005
# A call that got no answer may still take effect for this long: it may have waited for 2 s in a
# sidecar, been under way for 2 s, and have stood behind a lock for 1.2 s in a database that does
# not see that its sidecar hung up.
IN_FLIGHT_S = 6.0


@dataclass(frozen=True)
class Begin:
    """A BeginClaim: when it was sent and answered, and what the answer was.

    `code` is 0 for granted, None where no answer came. Of a refusal `settled` tells that the
    account waits for a newer snapshot.
    """

    request_id: str
    account_id: str
    sent: float
    answered: float
    code: int | None
    claim_id: str = ""
    token: int = 0
    expires: float = 0.0
    settled: bool = False


@dataclass(frozen=True)
class Change:
    """A renewal or an end of a claim; `expires` is that of an acknowledged renewal."""

    claim_id: str
    what: str
    sent: float
    answered: float
    code: int | None
    expires: float = 0.0


@dataclass(frozen=True)
class Found:
    """A claim as a read found it after all was over."""

    claim_id: str
    token: int
    state: str


@dataclass(frozen=True)
class History:
    """Everything that clients saw in one run."""

    lease_s: float
    begins: list[Begin]
    changes: list[Change]
    found: dict[str, Found | None]
    stuck: list[str]


def violations(history: History) -> Iterator[str]:
    """Every promise that what was seen contradicts, in words."""
    granted = _granted(history.begins)
    changes: dict[str, list[Change]] = defaultdict(list)
    for change in history.changes:
        changes[change.claim_id].append(change)
    yield from _granted_twice(history.begins)
    yield from _two_at_once(granted.values(), changes)
    yield from _tokens_that_shrink(granted.values())
    yield from _lost(granted.values(), changes, history.found)
    yield from _refused_for_nothing(history, changes)
    calls: list[Begin | Change] = [*history.begins, *history.changes]
    for call in calls:
        if call.code == -1000:
            yield f"fault: {call}"
    for account_id in history.stuck:
        yield f"stuck: {account_id} takes no claim after every lease has run out"


def _granted(begins: Iterable[Begin]) -> dict[str, Begin]:
    """The first acknowledgement of each claim."""
    # A request that got no answer may have been granted: it counts from when it was first sent.
    sent: dict[str, float] = {}
    for begin in sorted(begins, key=lambda each: each.sent):
        sent.setdefault(begin.request_id, begin.sent)
    first: dict[str, Begin] = {}
    for begin in sorted(begins, key=lambda each: each.answered):
        if begin.code == 0:
            first.setdefault(begin.claim_id, replace(begin, sent=sent[begin.request_id]))
    return first


def _granted_twice(begins: Iterable[Begin]) -> Iterator[str]:
    answers: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for begin in begins:
        if begin.code == 0:
            answers[begin.request_id].add((begin.claim_id, begin.token))
    for request_id, claims in answers.items():
        if len(claims) > 1:
            yield f"granted twice: request {request_id} got {sorted(claims)}"


def _two_at_once(granted: Iterable[Begin], changes: dict[str, list[Change]]) -> Iterator[str]:
    """Claims of one account whose certain times overlap.

    A claim is certainly active from its acknowledgement to the moment when the first call that
    ends it is sent, or its last acknowledged lease runs out. All leases are equally long, so a
    renewal never shortens one.
    """
    held: dict[str, list[tuple[float, float, str]]] = defaultdict(list)
    for begin in granted:
        own = changes[begin.claim_id]
        expires = max([begin.expires, *(each.expires for each in own)])
        ends = [each.sent for each in own if each.what in ("complete", "cancel")]
        until = min([expires - CLOCK_SLACK_S, *ends])
        if until > begin.answered:
            held[begin.account_id].append((begin.answered, until, begin.claim_id))
    for account_id, spans in held.items():
        for (_, until, one), (since, _, other) in pairwise(sorted(spans)):
            if since < until:
                yield f"two at once: {account_id} has {one} until {until} and {other} from {since}"


def _tokens_that_shrink(granted: Iterable[Begin]) -> Iterator[str]:
    """A claim that was begun after another was acknowledged has a greater token."""
    by_answer = sorted(granted, key=lambda each: each.answered)
    by_sending = sorted(by_answer, key=lambda each: each.sent)
    greatest, index = 0, 0
    for begin in by_sending:
        while index < len(by_answer) and by_answer[index].answered < begin.sent:
            greatest = max(greatest, by_answer[index].token)
            index += 1
        if begin.token <= greatest:
            yield f"token shrank: {begin.claim_id} has {begin.token} after {greatest}"


def _lost(
    granted: Iterable[Begin], changes: dict[str, list[Change]], found: dict[str, Found | None]
) -> Iterator[str]:
    for begin in granted:
        claim = found[begin.claim_id]
        if claim is None:
            yield f"lost: {begin.claim_id} was acknowledged and is not known"
        elif claim.token != begin.token:
            yield f"lost: {begin.claim_id} had token {begin.token} and has {claim.token}"
        else:
            for change in changes[begin.claim_id]:
                wanted = {"complete": "COMPLETED", "cancel": "CANCELLED"}.get(change.what)
                if change.code == 0 and wanted not in (None, claim.state):
                    yield f"lost: {change.what} of {begin.claim_id}, which is {claim.state}"


def _refused_for_nothing(history: History, changes: dict[str, list[Change]]) -> Iterator[str]:
    """Refusals with -1012 at a time when no claim on the account can have been active."""
    possible: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for begin in history.begins:
        if begin.code not in (0, None):
            continue
        own = changes[begin.claim_id] if begin.claim_id else []
        ended = [each.answered for each in own if each.code == 0 and each.what != "renew"]
        last = max([begin.answered, *(each.answered for each in own)])
        in_flight = IN_FLIGHT_S if begin.code is None or any(c.code is None for c in own) else 0
        until = min(ended) if ended else last + in_flight + history.lease_s + CLOCK_SLACK_S
        possible[begin.account_id].append((begin.sent, until))
    spans = {account_id: _Spans(each) for account_id, each in possible.items()}
    for begin in history.begins:
        if begin.code == -1012 and not begin.settled:
            known = spans.get(begin.account_id)
            if known is None or not known.meet(begin.sent, begin.answered):
                yield f"refused for nothing: {begin.request_id} on {begin.account_id}"


class _Spans:
    """Spans of time, to be asked about other spans; a run has thousands of both."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        by_start = sorted(spans)
        self._starts = [since for since, _ in by_start]
        # The latest end of it and all before it.
        self._ends = list(accumulate((until for _, until in by_start), max))

    def meet(self, since: float, until: float) -> bool:
        """Whether one of them has a moment with this span in common."""
        begun = bisect_right(self._starts, until)
        return begun > 0 and self._ends[begun - 1] >= since
