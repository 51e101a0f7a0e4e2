"""What plugin authors import: the SDK, and the bundled monitors and managers."""
