"""Fieldpost: a message agent for fleets of machines. The folders beside this file are its subpackages; `..` leads here."""

__version__ = "0.1.0"
