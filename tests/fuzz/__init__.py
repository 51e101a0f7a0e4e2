"""What a peer can send to a session, tried with octets that a fuzzer makes up: its targets, and what it has found."""
