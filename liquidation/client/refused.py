"""What callers of the service catch: a claim that is refused, or a call that got no answer."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from google.rpc.status_pb2 import Status

from liquidation.client.convert import value_of
from liquidation.v1 import errors_pb2, rules_service_pb2
from liquidation.values import CheckedClaim, Decision, FieldViolation

_STATUS_CODES: Final[Mapping[int, grpc.StatusCode]] = {
    code.value[0]: code for code in grpc.StatusCode
}
_DETAILS_KEY: Final = "grpc-status-details-bin"


class LiquidationClientError(Exception):
    """A call that did not end with the answer that was asked for."""


@dataclass(eq=False)
class LiquidationRefused(LiquidationClientError):  # noqa: N818 - it is an answer, not a fault
    """The service refused: the exchange's code and words, and all that the details tell.

    `rule` is the rule that refused, "" where it was none. `metadata` holds the numbers that stand
    in the message, by name. `decision` is None where the call was not for a decision; where the
    service failed (-1000, -1011) it may be the `decision_id` alone, under which the log has more.
    `retry_after` says when the same call is worth another try, None where the service names no
    time.
    """

    code: int
    name: str
    message: str
    http_status: int
    grpc_code: grpc.StatusCode
    decision: Decision | None = None
    rule: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    field_violations: tuple[FieldViolation, ...] = ()
    retry_after: timedelta | None = None

    def __post_init__(self) -> None:
        # An exception is copied and pickled by its args.
        self.args = tuple(getattr(self, each.name) for each in fields(self))

    def __str__(self) -> str:
        return f"{self.code} {self.message}"

    def rest_payload(self) -> dict[str, bool | int | str]:
        """The body of the exchange's REST API for this error; goes with `http_status`."""
        return {"success": False, "code": self.code, "message": self.message}


@dataclass(eq=False)
class LiquidationCallFailed(LiquidationClientError):  # noqa: N818 - named beside LiquidationRefused
    """No answer of the service: it is not there, the deadline passed, the call was cancelled.

    Whether a call that writes took effect is not known.
    """

    grpc_code: grpc.StatusCode
    message: str

    def __post_init__(self) -> None:
        self.args = (self.grpc_code, self.message)

    def __str__(self) -> str:
        return f"{self.grpc_code.name}: {self.message}"


# What becomes of one claim.
ClaimAnswer = CheckedClaim | LiquidationRefused


def claim_answer(result: rules_service_pb2.CheckClaimResult) -> ClaimAnswer:
    """The answer to one claim of a batch or a stream.

    Raises:
        LiquidationCallFailed: the result holds no answer of the service.
    """
    if result.HasField("accepted"):
        return value_of(CheckedClaim, result.accepted)
    with suppress(DecodeError):
        if answer := _refused(result.refused):
            return answer
    raise LiquidationCallFailed(_grpc_code(result.refused), result.refused.message)


def failure(error: Any) -> LiquidationClientError:
    """What a gRPC error of a call, sync or aio, says: a refusal or a call that failed."""
    trailers = dict(error.trailing_metadata() or ())
    with suppress(DecodeError):
        if answer := _refused(Status.FromString(trailers.get(_DETAILS_KEY, b""))):
            return answer
    return LiquidationCallFailed(error.code(), error.details() or "")


def _refused(status: Any) -> LiquidationRefused | None:
    """The refusal that a google.rpc.Status carries; None where it is none of this service's."""
    told: dict[str, Any] = {}
    error: errors_pb2.LiquidationError | None = None
    for packed in status.details:
        if packed.Is(errors_pb2.LiquidationError.DESCRIPTOR):
            error = errors_pb2.LiquidationError.FromString(packed.value)
        for message_type, read in _DETAILS:
            if packed.Is(message_type.DESCRIPTOR):
                told |= read(message_type.FromString(packed.value))
    if error is None:
        return None
    return LiquidationRefused(
        error.code,
        error.name,
        error.message,
        error.http_status,
        _grpc_code(status),
        value_of(Decision, error.decision) if error.HasField("decision") else None,
        **told,
    )


def _grpc_code(status: Any) -> grpc.StatusCode:
    return _STATUS_CODES.get(status.code, grpc.StatusCode.UNKNOWN)


def _info(detail: Any) -> dict[str, Any]:
    metadata = dict(sorted(detail.metadata.items()))
    return {"metadata": metadata, "rule": metadata.get("rule", "")}


def _violations(detail: Any) -> dict[str, Any]:
    return {
        "field_violations": tuple(
            FieldViolation(each.field, each.description) for each in detail.field_violations
        )
    }


def _retry(detail: Any) -> dict[str, Any]:
    return {"retry_after": detail.retry_delay.ToTimedelta()}


_DETAILS: Final[tuple[tuple[Any, Callable[[Any], dict[str, Any]]], ...]] = (
    (error_details_pb2.ErrorInfo, _info),
    (error_details_pb2.BadRequest, _violations),
    (error_details_pb2.RetryInfo, _retry),
)
