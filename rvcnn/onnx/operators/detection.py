"""What detectors end with."""

import numpy as np

from .base import operators


def _corners(boxes, center_point_box):
    """Boxes as (top, left, bottom, right), whichever corner comes first."""
    if center_point_box:
        x, y, w, h = np.moveaxis(boxes, -1, 0)
        return np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], -1)
    low = np.minimum(boxes[..., :2], boxes[..., 2:])
    return np.concatenate([low, np.maximum(boxes[..., :2], boxes[..., 2:])], -1)


def _overlaps(box, boxes):
    """Intersection over union of a box with others, 0 where the union is empty."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.maximum(sides, 0).prod(1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    union = (box[2:] - box[:2]).prod() + areas - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0)


def _kept(boxes, scores, most, overlap):
    """Places of the best boxes, none of which overlaps a better one by more."""
    order, kept = np.argsort(-scores, kind="stable"), []
    while order.size and len(kept) < most:
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[_overlaps(boxes[best], boxes[order]) <= overlap]
    return kept


def non_max_suppression(
    boxes,
    scores,
    max_output_boxes_per_class=None,
    iou_threshold=None,
    score_threshold=None,
    *,
    center_point_box=0,
):
    """Places (batch, class, box) of boxes that overlap no better one of their class.

    Parameters
    ----------
    boxes : (N, B, 4) array
        Two corners (y, x, y, x), or with `center_point_box` (x, y, width, height).
    scores : (N, classes, B) array
    max_output_boxes_per_class : array of one int
        None are kept without it.
    iou_threshold : array of one float
        Larger overlaps suppress.
    score_threshold : array of one float
        Boxes of lower or this score are left out.

    Returns
    -------
    (K, 3) int64 array
        By batch, class and falling score.
    """
    most = 0 if max_output_boxes_per_class is None else int(max_output_boxes_per_class.ravel()[0])
    overlap = 0.0 if iou_threshold is None else float(iou_threshold.ravel()[0])
    places = []
    for n, corners in enumerate(_corners(boxes, center_point_box)):
        for c, row in enumerate(scores[n]):
            chosen = np.arange(len(row))
            if score_threshold is not None:
                chosen = np.flatnonzero(row > score_threshold.ravel()[0])
            kept = _kept(corners[chosen], row[chosen], most, overlap)
            places += [(n, c, int(chosen[i])) for i in kept]
    return np.array(places, np.int64).reshape(-1, 3)


OPERATORS = operators({"NonMaxSuppression": non_max_suppression}, widen=True)
