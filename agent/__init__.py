"""One machine: configuration, supervisor, plugin host, the `fieldpost` command."""
