"""Child processes: what to do when, and the doing of it."""
