"""The daemon's parts: store, exchange, schedule, identity, transports, plugin socket."""
