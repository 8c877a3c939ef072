"""Parts of the server process, each by itself."""
