"""The broker's end of the local protocol: the plugin socket, who connects, what they may, and what they send."""
