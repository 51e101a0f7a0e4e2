"""The message types that are built in: what agents report (`from_agents`), and what servers ask (`from_servers`)."""
