"""The open server: intake, accounts, operations, API."""
