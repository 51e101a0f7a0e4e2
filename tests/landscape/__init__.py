"""Our broker and our server, and the programs that they stand in for."""
