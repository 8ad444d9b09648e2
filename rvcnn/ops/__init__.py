"""Operators of the graph, one file each."""
