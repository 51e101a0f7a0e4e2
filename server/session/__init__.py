"""The server's end of the session: its front door, who is connected, and what they may ask of each other."""
