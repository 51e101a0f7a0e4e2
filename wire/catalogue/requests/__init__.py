"""What servers send, by subject: tables of declarations and nothing else. No broker loads them."""
