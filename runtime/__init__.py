"""What every process of ours stands on: doors into Twisted, the database file, the writer thread, settings."""
