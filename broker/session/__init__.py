"""The broker's end of the session with the server: opened, kept, used for exchanges, and answered."""
