"""What a careful engineer writes by hand: Pillow, a pool of threads, ONNX Runtime.

The same preprocessing as rvcnn's, whose exactness tests hold to Pillow's, and the same network.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


class Script:
    """Embeds files, one image a thread.

    Parameters
    ----------
    onnx : str
        Network for one image, (1, 3, H, W) to (1, D).
    preprocess : rvcnn.Preprocess
        Sizes, mean and standard deviation.
    workers : int
    margin : float, optional
        Let Pillow decode JPEGs at 1/2, 1/4 or 1/8 of their size, as long as the shorter side keeps
        this many times the side it is resized to. None: always in full.
    """

    def __init__(self, onnx: str, preprocess, workers: int, margin: float | None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            onnx, options, providers=["CPUExecutionProvider"]
        )
        self._input = self._session.get_inputs()[0].name
        self._pool = ThreadPoolExecutor(workers)
        self._resize, self._crop = preprocess.resize, preprocess.crop
        self._draft = margin and round(margin * preprocess.resize)
        self._mean = np.array(preprocess.mean, np.float32)
        self._std = np.array(preprocess.std, np.float32)

    def embed(self, paths: list[Path]) -> np.ndarray:
        """Unit vectors (N, D)."""
        return np.array(list(self._pool.map(self._embed_one, paths)))

    def _embed_one(self, path):
        with Image.open(path) as image:
            if self._draft:
                image.draft("RGB", (self._draft, self._draft))
            image = ImageOps.exif_transpose(image).convert("RGB")
        scale = self._resize / min(image.size)
        width, height = (round(side * scale) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = (width - self._crop) // 2, (height - self._crop) // 2
        image = image.crop((left, top, left + self._crop, top + self._crop))
        x = (np.asarray(image, np.float32) / 255 - self._mean) / self._std
        x = np.ascontiguousarray(x.transpose(2, 0, 1)[None])
        row = self._session.run(None, {self._input: x})[0][0]
        return row / np.linalg.norm(row)
