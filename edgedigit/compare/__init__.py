"""Architectures and recipes trained alike, compared by what was measured."""
