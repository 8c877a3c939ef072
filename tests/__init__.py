"""Facts about the service's behaviour, through its public face where that can be."""

import os

# Read when gRPC is first imported. Its handlers of fork() now and then crash a child before it gets
# to its program, and a server that runs as another user is started by a fork.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")
