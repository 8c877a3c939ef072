"""The pure core: rules, margin, policy and the error catalogue as functions of values.

Standard library only; no I/O, clock, gRPC, logging or environment.
"""
