"""Facts about the service's behaviour, through its public face where that can be."""

import os

# Read when gRPC is first imported. Its handlers of fork() now and then crash a child before it gets
# to its program, and a server that runs as another user is started by a fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")

from liquidation.server import grpc_environment

# The servers of tests run gRPC as the service does; it reads its environment when it is imported.
grpc_environment.prepare()
