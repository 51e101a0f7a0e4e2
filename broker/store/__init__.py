"""The durable message store: one SQLite file, with all that plugins and the server sent until it is safe with the other."""
