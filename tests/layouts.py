"""A MobileNetV3's tensors under the names that timm and d-li14 give them, written from their code.

Which block has what is written out again here, so that a mistake in rvcnn's tables shows.
"""

import numpy as np

# timm counts the blocks of each stage.
TIMM_STAGES = {"mobilenetv3_small": (1, 2, 3, 2, 3), "mobilenetv3_large": (1, 2, 3, 4, 2, 3)}
# Whether each block has squeeze-excite.
SQUEEZED = {
    "mobilenetv3_small": (1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
    "mobilenetv3_large": (0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1, 1),
}


def to_timm(tensors, name):
    """Rename torchvision's tensors to timm's."""
    pairs = {"features.0.0": "conv_stem", "features.0.1": "bn1"}
    pairs |= {"classifier.0": "conv_head", "classifier.3": "classifier"}
    places = [(s, p) for s, count in enumerate(TIMM_STAGES[name]) for p in range(count)]
    for i, ((stage, position), squeezed) in enumerate(zip(places, SQUEEZED[name], strict=True), 1):
        there = f"blocks.{stage}.{position}"
        if i == 1:
            parts = [("conv_dw", "bn1"), ("se.",), ("conv_pw", "bn2")]
        else:
            parts = [("conv_pw", "bn1"), ("conv_dw", "bn2"), ("se.",), ("conv_pwl", "bn3")]
        _block(pairs, f"features.{i}", there, parts, squeezed, ("conv_reduce", "conv_expand"))
    last = len(places) + 1
    stage = len(TIMM_STAGES[name])
    pairs |= {f"features.{last}.0": f"blocks.{stage}.0.conv"}
    pairs |= {f"features.{last}.1": f"blocks.{stage}.0.bn1"}
    renamed = _renamed(tensors, pairs)
    renamed["conv_head.weight"] = renamed["conv_head.weight"][:, :, None, None]
    return renamed


def to_d_li14(tensors, name, squeeze="conv.5"):
    """Rename torchvision's tensors to d-li14's; `squeeze` is "conv.6" in that project's first."""
    pairs = {}
    for i, squeezed in enumerate(SQUEEZED[name], 1):
        if i == 1:
            parts = [("conv.0", "conv.1"), ("conv.3.",), ("conv.4", "conv.5")]
        else:
            ends = [(f"{squeeze}.",), ("conv.7", "conv.8")]
            parts = [("conv.0", "conv.1"), ("conv.3", "conv.4"), *ends]
        _block(pairs, f"features.{i}", f"features.{i}", parts, squeezed, ("fc.0", "fc.2"))
    last = len(SQUEEZED[name]) + 1
    pairs |= {f"features.{last}.0": "conv.0", f"features.{last}.1": "conv.1"}
    renamed = _renamed(tensors, pairs)
    return {k: v[:, :, 0, 0] if ".fc." in k and v.ndim == 4 else v for k, v in renamed.items()}


# Blocks of each stage of timm's MobileNetV2 and EfficientNet-B0.
STAGES = {"mobilenetv2": (1, 2, 3, 4, 3, 3, 1), "efficientnet_b0": (1, 2, 2, 3, 3, 4, 1)}


def to_timm_of_stages(tensors, name):
    """Rename torchvision's tensors of a MobileNetV2 or an EfficientNet-B0 to timm's."""
    squeeze, wide = name == "efficientnet_b0", name == "mobilenetv2"
    places = [(s, p) for s, count in enumerate(STAGES[name]) for p in range(count)]
    last = f"features.{18 if wide else 8}"
    pairs = {"features.0.0": "conv_stem", "features.0.1": "bn1", "classifier.1": "classifier"}
    pairs |= {f"{last}.0": "conv_head", f"{last}.1": "bn2"}
    for i, (stage, position) in enumerate(places, 1):
        here = f"features.{i}.conv" if wide else f"features.{stage + 1}.{position}.block"
        there = f"blocks.{stage}.{position}"
        layers = [("conv_pw", "bn1")] if stage else []
        layers += [("conv_dw", f"bn{1 + (stage > 0)}")]
        for j, (conv, norm) in enumerate(layers):
            pairs |= {f"{here}.{j}.0": f"{there}.{conv}", f"{here}.{j}.1": f"{there}.{norm}"}
        j = len(layers)
        if squeeze:
            pairs[f"{here}.{j}.fc1"] = f"{there}.se.conv_reduce"
            pairs[f"{here}.{j}.fc2"] = f"{there}.se.conv_expand"
            j += 1
        conv, norm = ("conv_pwl", "bn3") if stage else ("conv_pw", "bn2")
        ends = (f"{here}.{j}", f"{here}.{j + 1}") if wide else (f"{here}.{j}.0", f"{here}.{j}.1")
        pairs |= {ends[0]: f"{there}.{conv}", ends[1]: f"{there}.{norm}"}
    return _renamed(tensors, pairs)


def to_megvii(tensors, numbered=True):
    """Rename torchvision's tensors of a ShuffleNetV2; blocks are counted through if `numbered`."""
    firsts = {"stage2": 0, "stage3": 4, "stage4": 12}
    roots = {"conv1": "first_conv", "conv5": "conv_last", "fc": "classifier.0"}
    renamed = {}
    for key, value in tensors.items():
        root, _, rest = key.partition(".")
        if root in firsts:
            block, branch, parameter = rest.split(".", 2)
            branch = {"branch1": "branch_proj", "branch2": "branch_main"}[branch]
            place = f"features.{firsts[root] + int(block)}" if numbered else f"{root}.{block}"
            renamed[f"{place}.{branch}.{parameter}"] = value
        else:
            renamed[f"{roots[root]}.{rest}"] = value
    return renamed


def _block(pairs, here, there, parts, squeezed, squeeze_names):
    parts = [part for part in parts if squeezed or len(part) == 2]
    for j, part in enumerate(parts):
        if len(part) == 1:
            for own, name in zip(("fc1", "fc2"), squeeze_names, strict=True):
                pairs[f"{here}.block.{j}.{own}"] = f"{there}.{part[0]}{name}"
        else:
            for own, name in zip("01", part, strict=True):
                pairs[f"{here}.block.{j}.{own}"] = f"{there}.{name}"


def _renamed(tensors, pairs):
    renamed = {}
    for key, value in tensors.items():
        module, _, parameter = key.rpartition(".")
        renamed[f"{pairs.get(module, module)}.{parameter}"] = np.ascontiguousarray(value)
    return renamed
