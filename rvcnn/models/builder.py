"""Write a graph down layer by layer."""

from rvcnn.graph import INPUT, Graph, Node
from rvcnn.ops import (
    Activation,
    Add,
    BatchNorm,
    Concat,
    Conv2d,
    GlobalAvgPool,
    Linear,
    MaxPool,
    Op,
    ScaleChannels,
    ShuffleChannels,
    SliceChannels,
)


class Builder:
    """Collects nodes; every method returns the new layer's name.

    Parameters
    ----------
    padding : str, optional
        "symmetric" (torchvision) or "same" (TensorFlow) for windows wider than one pixel;
        "symmetric" if not given.
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

    def _sides(self, kernel):
        side = (kernel - 1) // 2
        same = self.padding == "same" and kernel > 1
        return "same" if same else ((side, side), (side, side))

    def conv(self, name, x, out, kernel=1, stride=1, groups=1, bias=False):
        """A square convolution."""
        op = Conv2d(
            self.channels[x],
            out,
            (kernel, kernel),
            (stride, stride),
            self._sides(kernel),
            groups=groups,
            bias=bias,
        )
        return self.add(name, op, x, channels=out)

    def conv_norm(
        self,
        name,
        x,
        out,
        kernel=1,
        stride=1,
        groups=1,
        activation=None,
        parts=(".0", ".1", ".2"),
    ):
        """Convolution, batch normalisation and, if asked, activation; ``parts`` end their names."""
        x = self.conv(name + parts[0], x, out, kernel, stride, groups)
        x = self.add(name + parts[1], BatchNorm(out, self.epsilon), x, channels=out)
        return self.activation(name + parts[2], x, activation) if activation else x

    def activation(self, name, x, activation):
        """An activation, or one by name."""
        op = activation if isinstance(activation, Activation) else Activation(activation)
        return self.add(name, op, x, channels=self.channels[x])

    def max_pool(self, name, x, kernel, stride):
        """Maximum over a square window."""
        op = MaxPool((kernel, kernel), (stride, stride), self._sides(kernel))
        return self.add(name, op, x, channels=self.channels[x])

    def global_pool(self, name, x):
        """Mean over all pixels."""
        return self.add(name, GlobalAvgPool(), x, channels=self.channels[x])

    def linear(self, name, x, out):
        """A linear layer with a bias."""
        return self.add(name, Linear(self.channels[x], out), x, channels=out)

    def sum(self, name, x, other):
        """Sum of two maps."""
        return self.add(name, Add(), x, other, channels=self.channels[x])

    def slice(self, name, x, start, stop):
        """Some of a map's channels."""
        return self.add(name, SliceChannels(start, stop), x, channels=stop - start)

    def concat(self, name, *inputs):
        """Maps' channels one after another."""
        counts = tuple(self.channels[x] for x in inputs)
        return self.add(name, Concat(counts), *inputs, channels=sum(counts))

    def shuffle(self, name, x, groups):
        """Channels of so many groups by turns."""
        return self.add(name, ShuffleChannels(groups), x, channels=self.channels[x])

    def squeeze_excite(self, name, x, squeezed, activation="relu", gate="hard_sigmoid"):
        """Every channel times a factor that follows from the means of all channels."""
        width = self.channels[x]
        s = self.global_pool(f"{name}.avgpool", x)
        s = self.conv(f"{name}.fc1", s, squeezed, bias=True)
        s = self.activation(f"{name}.activation", s, activation)
        s = self.conv(f"{name}.fc2", s, width, bias=True)
        s = self.activation(f"{name}.scale_activation", s, gate)
        return self.add(f"{name}.scale", ScaleChannels(), x, s, channels=width)

    def with_heads(self, pooled, features, classifier, num_classes, embedding_dim):
        """The graph that ends in a classifier and an embedding, or in ``pooled`` without either.

        Parameters
        ----------
        pooled, features : str
            What ``embed`` and the classifier read.
        classifier : str
            The classifier's name.
        num_classes, embedding_dim : int
            Their widths; 0 for none.
        """
        outputs = []
        if num_classes:
            outputs.append(self.linear(classifier, features, num_classes))
        if embedding_dim:
            outputs.append(self.linear("embed", pooled, embedding_dim))
        return Graph(tuple(self.nodes), tuple(outputs or [pooled]))
