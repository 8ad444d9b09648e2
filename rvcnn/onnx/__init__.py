"""Other people's networks: ONNX files run on rvcnn's kernels.

Reading a file needs the package `onnx` (the extra of that name); running what was read does not.
"""

from .network import Network, Node, Value
from .session import Session, load

__all__ = ["Network", "Node", "Session", "Value", "load"]
