"""The statuses with which a transport itself ends calls."""

from typing import NamedTuple


class Status(NamedTuple):
    """A gRPC status: the number of a `grpc.StatusCode`, and words for the caller."""

    code: int
    message: str


OK = Status(0, "")
UNKNOWN_METHOD = Status(12, "Method not found!")
# gRPC's status for a unary call that is half-closed without its message.
NO_REQUEST = Status(12, "the method takes one request, none was sent")
FAULT = Status(13, "The server failed to answer.")
LATE_REQUEST = Status(4, "The request did not come in time.")
SHED_REQUEST = Status(8, "The server is short of memory; send the request again later.")
SHED_STREAM = Status(8, "The server is short of memory; open another stream later.")
DRAINING = Status(14, "The server ends; open another stream.")
