"""All of it on one machine, to watch: `fieldpost demo`."""
