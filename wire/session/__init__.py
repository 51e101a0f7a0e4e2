"""The session: frames, the two ends that exchange them, and how they come to agree. Octets in, events out."""
