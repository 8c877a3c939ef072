"""The gRPC face: thin servicers that turn messages into values and back."""
