"""Mercurial's own frame code as the other end of ours, in a process of its own."""
