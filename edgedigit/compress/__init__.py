"""Compression: structured pruning and INT8 quantisation."""
