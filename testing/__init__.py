"""Harness for plugin authors."""
