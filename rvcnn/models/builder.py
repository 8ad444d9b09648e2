"""Write a graph down layer by layer."""

from rvcnn.graph import INPUT, Graph, Node
from rvcnn.ops import Activation, BatchNorm, Conv2d, Op


class Builder:
    """Collects nodes; every method returns the new layer's name.

    Parameters
    ----------
    padding : str
        "symmetric" (torchvision) or "same" (TensorFlow) for convolutions wider than one pixel.
    epsilon : float
        Of batch normalisation.
    """

    def __init__(self, padding, epsilon):
        self.padding = padding
        self.epsilon = epsilon
        self.nodes = []
        self.channels = {INPUT: 3}

    def add(self, name, op: Op, *inputs, channels):
        """Append a node whose result has so many channels."""
        self.nodes.append(Node(name, op, inputs))
        self.channels[name] = channels
        return name

    def conv(self, name, x, out, kernel=1, stride=1, groups=1, bias=False):
        """A square convolution."""
        side = (kernel - 1) // 2
        same = self.padding == "same" and kernel > 1
        op = Conv2d(
            self.channels[x],
            out,
            (kernel, kernel),
            (stride, stride),
            "same" if same else ((side, side), (side, side)),
            groups=groups,
            bias=bias,
        )
        return self.add(name, op, x, channels=out)

    def conv_norm(self, name, x, out, kernel=1, stride=1, groups=1, activation=None):
        """Convolution ``name.0``, batch normalisation ``name.1``, activation ``name.2``."""
        x = self.conv(f"{name}.0", x, out, kernel, stride, groups)
        x = self.add(f"{name}.1", BatchNorm(out, self.epsilon), x, channels=out)
        return self.activation(f"{name}.2", x, activation) if activation else x

    def activation(self, name, x, activation):
        """An activation by name."""
        return self.add(name, Activation(activation), x, channels=self.channels[x])

    def graph(self, *outputs):
        """The graph of all nodes."""
        return Graph(tuple(self.nodes), outputs)
