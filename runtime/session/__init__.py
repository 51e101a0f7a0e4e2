"""What both ends of a session build on: the connection, calls and their answers, subscriptions."""
