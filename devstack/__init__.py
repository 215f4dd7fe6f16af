"""The embedded run: every server of TaskHub from wheels, in one folder, without containers."""

import os

# The supervisor asks the API for its health over gRPC and goes on starting children. gRPC's handlers for a fork act on
# threads that the child, which only execs, does not have: now and then they abort it. They are read at gRPC's import.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
