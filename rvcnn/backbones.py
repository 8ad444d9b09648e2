"""The seed's names for networks."""

import enum
import os

from .errors import UsageError
from .model import Model, create_model


class BackboneType(enum.Enum):
    """Networks that :func:`create_backbone` makes."""

    MobileNetV3Small = "mobilenetv3_small"
    MobileNetV3Large = "mobilenetv3_large"
    ShuffleNetV2_0_5 = "shufflenetv2_x0_5"
    ShuffleNetV2_1_0 = "shufflenetv2_x1_0"
    EfficientNetB0 = "efficientnet_b0"


def create_backbone(
    backbone_type: BackboneType | str, weights_path: str | os.PathLike[str] | None = None
) -> Model:
    """A network that gives embeddings.

    Parameters
    ----------
    backbone_type : BackboneType
        Or its value, as "mobilenetv3_small".
    weights_path : path-like, optional
        A weights file; by default the embedded model's, which is a MobileNetV3Small.

    Returns
    -------
    rvcnn.model.Model

    Raises
    ------
    UsageError
        There is no such type.
    """
    try:
        backbone_type = BackboneType(backbone_type)
    except ValueError:
        known = ", ".join(kind.value for kind in BackboneType)
        raise UsageError(f"unknown backbone {backbone_type!r}: one of {known}") from None
    if weights_path is None and backbone_type is BackboneType.MobileNetV3Small:
        return create_model(num_classes=0)
    return create_model(backbone_type.value, weights=weights_path, num_classes=0)
