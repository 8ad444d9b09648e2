"""Networks of the last decade in PyTorch, written from their papers, with few classes.

Weights are random. Fully connected layers are narrow, everything else has the papers' sizes.
"""

import torch
from torch import nn

CLASSES = 10
HIDDEN = 32


def conv(inputs, outputs, kernel, stride=1, padding=None, **options):
    """Convolution and ReLU."""
    padding = kernel // 2 if padding is None else padding
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding, **options), nn.ReLU())


def head(inputs):
    """Flattened map, dropout, two hidden layers, logits (Krizhevsky et al., 2012)."""
    return nn.Sequential(
        *(nn.Flatten(), nn.Dropout(), nn.Linear(inputs, HIDDEN), nn.ReLU(inplace=True)),
        *(nn.Dropout(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(inplace=True)),
        nn.Linear(HIDDEN, CLASSES),
    )


def alexnet():
    """Krizhevsky, One weird trick, 2014."""
    return nn.Sequential(
        *(conv(3, 64, 11, 4, 2), nn.MaxPool2d(3, 2), conv(64, 192, 5), nn.MaxPool2d(3, 2)),
        *(conv(192, 384, 3), conv(384, 256, 3), conv(256, 256, 3), nn.MaxPool2d(3, 2)),
        head(256 * 36),
    )


def alexnet_2012():
    """Krizhevsky et al., 2012: normalised across channels, convolutions in two groups."""
    return nn.Sequential(
        *(conv(3, 96, 11, 4, 2), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2)),
        *(conv(96, 256, 5, groups=2), nn.LocalResponseNorm(5), nn.MaxPool2d(3, 2)),
        *(conv(256, 384, 3), conv(384, 384, 3, groups=2), conv(384, 256, 3, groups=2)),
        *(nn.MaxPool2d(3, 2), head(256 * 36)),
    )


def vgg11():
    """Simonyan and Zisserman, 2014, table 1, A."""
    layers, width = [], 3
    for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        for outputs in stage:
            layers.append(conv(width, outputs, 3))
            width = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, head(512 * 9))


class Fire(nn.Module):
    """A squeezing layer, then two expanding ones side by side (Iandola et al., 2016)."""

    def __init__(self, inputs, squeezed, outputs):
        super().__init__()
        self.squeeze = conv(inputs, squeezed, 1)
        self.expand = nn.ModuleList(conv(squeezed, outputs, kernel) for kernel in (1, 3))

    def forward(self, x):
        x = self.squeeze(x)
        return torch.cat([layer(x) for layer in self.expand], 1)


def squeezenet():
    """SqueezeNet 1.1; its poolings round up."""
    pool = (3, 2, 0, 1, False, True)
    return nn.Sequential(
        *(conv(3, 64, 3, 2, 0), nn.MaxPool2d(*pool), Fire(64, 16, 64), Fire(128, 16, 64)),
        *(nn.MaxPool2d(*pool), Fire(128, 32, 128), Fire(256, 32, 128), nn.MaxPool2d(*pool)),
        *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
        *(nn.Dropout(), conv(512, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


def norm_first(inputs, outputs, kernel):
    """Batch normalisation, ReLU, convolution."""
    layers = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), layers)


class Dense(nn.Module):
    """Every layer reads what all before it wrote (Huang et al., 2017)."""

    def __init__(self, inputs, layers, growth=32):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                norm_first(inputs + i * growth, 4 * growth, 1), norm_first(4 * growth, growth, 3)
            )
            for i in range(layers)
        )

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def densenet121():
    """Huang et al., 2017, table 1."""
    layers = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    layers.append(nn.MaxPool2d(3, 2, 1))
    width = 64
    for count in (6, 12, 24, 16):
        layers.append(Dense(width, count))
        width += 32 * count
        if count != 16:
            layers += [norm_first(width, width // 2, 1), nn.AvgPool2d(2)]
            width //= 2
    layers += [nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


class Inception(nn.Module):
    """Windows of several sizes side by side (Szegedy et al., 2015)."""

    def __init__(self, inputs, one, three, five, pooled):
        super().__init__()
        self.branches = nn.ModuleList(
            (
                conv(inputs, one, 1),
                nn.Sequential(conv(inputs, three[0], 1), conv(*three, 3)),
                nn.Sequential(conv(inputs, five[0], 1), conv(*five, 5)),
                nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(inputs, pooled, 1)),
            )
        )

    def forward(self, x):
        return torch.cat([branch(x) for branch in self.branches], 1)


def inception_v1():
    """Szegedy et al., 2015, table 1, with its normalisation across channels."""
    pool = (3, 2, 0, 1, False, True)
    return nn.Sequential(
        *(conv(3, 64, 7, 2), nn.MaxPool2d(*pool), nn.LocalResponseNorm(5)),
        *(conv(64, 64, 1), conv(64, 192, 3), nn.LocalResponseNorm(5), nn.MaxPool2d(*pool)),
        Inception(192, 64, (96, 128), (16, 32), 32),
        *(Inception(256, 128, (128, 192), (32, 96), 64), nn.MaxPool2d(*pool)),
        Inception(480, 192, (96, 208), (16, 48), 64),
        Inception(512, 160, (112, 224), (24, 64), 64),
        Inception(512, 128, (128, 256), (24, 64), 64),
        Inception(512, 112, (144, 288), (32, 64), 64),
        *(Inception(528, 256, (160, 320), (32, 128), 128), nn.MaxPool2d(*pool)),
        Inception(832, 256, (160, 320), (32, 128), 128),
        Inception(832, 384, (192, 384), (48, 128), 128),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(1024, CLASSES)),
    )


CLASSICS = {
    "alexnet": (alexnet, 224),
    "alexnet 2012": (alexnet_2012, 224),
    "vgg11": (vgg11, 96),
    "squeezenet": (squeezenet, 95),
    "densenet121": (densenet121, 64),
    "inception v1": (inception_v1, 112),
}
"""How a network is made, and pixels of a side that keep a test short."""


def make(name, seed=0):
    """A network with random weights and statistics, ready for inference, and its image's side."""
    torch.manual_seed(seed)
    build, size = CLASSICS[name]
    network = build().eval()
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.1)
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.3)
            nn.init.uniform_(layer.running_var, 0.5, 2.0)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, std=0.3)
    return network, size
