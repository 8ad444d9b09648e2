"""Write a network in int8, calibrated on images: by rvcnn, by NNCF, by ONNX Runtime's quantiser.

The images are an .npy file of (N, H, W, 3) bytes; they are normalised as the weights' metadata says
(``--mean``, ``--std``).

    python benchmarks/quantise.py rvcnn-int8 WEIGHTS.safetensors PIXELS.npy QUANTISED.safetensors
    python benchmarks/quantise.py openvino-int8 NETWORK.onnx PIXELS.npy QUANTISED.xml
    python benchmarks/quantise.py onnxruntime-int8 NETWORK.onnx PIXELS.npy QUANTISED.onnx
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rvcnn.images import Preprocess

PERCENTILE = 99.99
"""What ONNX Runtime's calibration keeps of each activation's values."""


class Images(NamedTuple):
    """What is calibrated on: bytes (N, H, W, 3), and how they are normalised."""

    pixels: np.ndarray
    preprocess: Preprocess

    @property
    def inputs(self) -> Iterator[np.ndarray]:
        """One by one, as (1, 3, H, W) float32."""
        for image in self.pixels:
            x = self.preprocess.normalise(image).transpose(2, 0, 1)[None]
            yield np.ascontiguousarray(x)


def by_rvcnn(network: str, images: Images, file: str, output: str) -> None:
    """The project's own calibration, as ``rvcnn quantize`` chooses it."""
    import networks

    from rvcnn.quantization import calibrate
    from rvcnn.quantization.file import save

    model = networks.load(network, output)
    save(file, model, calibrate(model, images.pixels))


def by_nncf(
    network: str, images: Images, file: str, output: str, preset: str = "performance"
) -> None:
    """OpenVINO's post-training quantisation, with its fast bias correction, on all the images.

    Its documentation recommends the preset "mixed" (activations with a zero point) for networks
    whose activations are not ReLU, as MobileNetV3's; "performance" is its default.
    """
    import nncf
    import openvino as ov

    model = ov.Core().read_model(network)
    name = model.input(0).any_name
    quantised = nncf.quantize(
        model,
        nncf.Dataset(list(images.inputs), lambda x: {name: x}),
        preset=nncf.QuantizationPreset(preset),
        subset_size=len(images.pixels),
    )
    ov.save_model(quantised, file, compress_to_fp16=False)


def by_nncf_mixed(network: str, images: Images, file: str, output: str) -> None:
    """The same with the preset "mixed"."""
    by_nncf(network, images, file, output, "mixed")


def by_onnxruntime(network: str, images: Images, file: str, output: str, kind: str = "QDQ") -> None:
    """ONNX Runtime's static quantisation as its documentation has it for x86 with VNNI.

    Quantise and dequantise nodes (of the kind "QOperator" operators on bytes, "dynamic" steps that
    are found while the network runs), u8 activations, s8 weights a channel. Of its calibrations the
    one that keeps most of MobileNetV3's accuracy: percentiles (its default, minimum and maximum, is
    as fast and halves the top-1 again).
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            name = onnx.load(network).graph.input[0].name
            self._next = ({name: x} for x in images.inputs)

        def get_next(self):
            return next(self._next, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder, "prepared.onnx"))
        quant_pre_process(network, prepared, skip_symbolic_shape=True)
        weights = {"per_channel": True, "weight_type": quantization.QuantType.QInt8}
        if kind == "dynamic":
            quantization.quantize_dynamic(prepared, file, **weights)
            return
        quantization.quantize_static(
            prepared,
            file,
            Reader(),
            **weights,
            quant_format=quantization.QuantFormat[kind],
            activation_type=quantization.QuantType.QUInt8,
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
        )


METHODS = {
    "rvcnn-int8": by_rvcnn,
    "openvino-int8": by_nncf,
    "openvino-int8-mixed": by_nncf_mixed,
    "onnxruntime-int8": by_onnxruntime,
}


def main() -> None:
    """Quantise a network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=list(METHODS))
    parser.add_argument("network", help="ONNX file for one image; for rvcnn weights")
    parser.add_argument("pixels", help=".npy file")
    parser.add_argument("file", help="file to write")
    parser.add_argument("--output", choices=["logits", "embedding"], default="logits")
    for name in ("mean", "std"):
        parser.add_argument(f"--{name}", default="0.5,0.5,0.5", help="of values from 0 to 1")
    given = parser.parse_args()
    mean, std = (tuple(map(float, text.split(","))) for text in (given.mean, given.std))
    images = Images(np.load(given.pixels), Preprocess(mean=mean, std=std))
    METHODS[given.method](given.network, images, given.file, given.output)


if __name__ == "__main__":
    main()
