"""Write a network in int8, calibrated on images: by OpenVINO's NNCF, by ONNX Runtime's quantiser.

The images are an .npy file of (N, H, W, 3) bytes; they are normalised as the weights' metadata says
(``--mean``, ``--std``).

    python benchmarks/quantise.py openvino-int8 NETWORK.onnx PIXELS.npy QUANTISED.xml
    python benchmarks/quantise.py onnxruntime-int8 NETWORK.onnx PIXELS.npy QUANTISED.onnx
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx

from rvcnn.images import Preprocess

PERCENTILE = 99.99
"""What ONNX Runtime's calibration keeps of each activation's values."""


def _inputs(pixels: np.ndarray, preprocess: Preprocess):
    """Images one by one, as (1, 3, H, W) float32."""
    for image in pixels:
        x = preprocess.normalise(image).transpose(2, 0, 1)[None]
        yield np.ascontiguousarray(x)


def by_nncf(network: str, inputs: list[np.ndarray], file: str, preset: str = "performance") -> None:
    """OpenVINO's post-training quantisation, with its fast bias correction, on all the inputs.

    Its documentation recommends the preset "mixed" (activations with a zero point) for networks
    whose activations are not ReLU, as MobileNetV3's; "performance" is its default.
    """
    import nncf
    import openvino as ov

    model = ov.Core().read_model(network)
    name = model.input(0).any_name
    quantised = nncf.quantize(
        model,
        nncf.Dataset(inputs, lambda x: {name: x}),
        preset=nncf.QuantizationPreset(preset),
        subset_size=len(inputs),
    )
    ov.save_model(quantised, file, compress_to_fp16=False)


def by_nncf_mixed(network: str, inputs: list[np.ndarray], file: str) -> None:
    """The same with the preset "mixed"."""
    by_nncf(network, inputs, file, "mixed")


def by_onnxruntime(network: str, inputs: list[np.ndarray], file: str) -> None:
    """ONNX Runtime's static quantisation as its documentation has it for x86 with VNNI.

    Quantise and dequantise nodes, u8 activations, s8 weights a channel. Of its calibrations the one
    that keeps most of MobileNetV3's accuracy: percentiles (its default, minimum and maximum, is as
    fast and halves the top-1 again).
    """
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            name = onnx.load(network).graph.input[0].name
            self._next = ({name: x} for x in inputs)

        def get_next(self):
            return next(self._next, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder, "prepared.onnx"))
        quant_pre_process(network, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            file,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.Percentile,
            extra_options={"CalibPercentile": PERCENTILE},
        )


METHODS = {
    "openvino-int8": by_nncf,
    "openvino-int8-mixed": by_nncf_mixed,
    "onnxruntime-int8": by_onnxruntime,
}


def main() -> None:
    """Quantise a network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method", choices=list(METHODS))
    parser.add_argument("network", help="ONNX file for one image")
    parser.add_argument("pixels", help=".npy file")
    parser.add_argument("file", help="file to write")
    for name in ("mean", "std"):
        parser.add_argument(f"--{name}", default="0.5,0.5,0.5", help="of values from 0 to 1")
    given = parser.parse_args()
    mean, std = (tuple(map(float, text.split(","))) for text in (given.mean, given.std))
    preprocess = Preprocess(mean=mean, std=std)
    inputs = list(_inputs(np.load(given.pixels), preprocess))
    METHODS[given.method](given.network, inputs, given.file)


if __name__ == "__main__":
    main()
