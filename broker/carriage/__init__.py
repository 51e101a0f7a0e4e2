"""What carries an exchange to the server and back: HTTP, its proxies, its trust, its words for what goes wrong."""
