"""The same service as most people would have written it at first, for what that costs.

The rules, the messages and the keys of a log line are the service's own, so that it decides right.
The edges are plain: gRPC's default environment and event loop, stubs and registration as generated,
an interceptor that wraps each handler anew, structlog through logging, one commit a claim.
"""
