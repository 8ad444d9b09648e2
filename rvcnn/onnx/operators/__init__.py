"""ONNX's operators as functions on arrays, by their types."""

OPERATORS = {}
