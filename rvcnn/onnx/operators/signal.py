"""Spectra of signals. Complex values have their real and imaginary parts along the last axis."""

import numpy as np

from rvcnn.errors import ShapeError

from .base import axis_of, check_size, operators
from .types import dtype_of


def _complex(x):
    return x[..., 0] + 1j * x[..., 1] if x.shape[-1] == 2 else x[..., 0]


def _parts(x, dtype):
    return np.stack([x.real, x.imag], -1).astype(dtype)


def dft(x, length=None, axis=None, *, inverse=0, onesided=0, opset=20):
    """Discrete Fourier transform along an axis, padded with zeros or cut to `length`.

    `onesided` keeps the first half of the spectrum of a real signal, and takes it to `inverse`.
    """
    place = (1 if opset < 20 else -2) if axis is None else int(np.ravel(axis)[0])
    place = axis_of(place, x.ndim)
    if place == x.ndim - 1:
        raise ShapeError("the last axis holds the parts of complex values: choose another")
    n = None if length is None else int(np.ravel(length)[0])
    count = n if n is not None else x.shape[place]
    check_size([2 * count if i == place else m for i, m in enumerate(x.shape)], np.complex128)
    signal = _complex(x)
    if onesided and inverse:
        return np.fft.irfft(signal, n, place)[..., None].astype(x.dtype, copy=False)
    if onesided:
        return _parts(np.fft.rfft(signal.real, n, place), x.dtype)
    return _parts((np.fft.ifft if inverse else np.fft.fft)(signal, n, place), x.dtype)


def stft(x, step, window=None, length=None, *, onesided=1):
    """Spectra (N, frames, frequencies, 2) of windows that are `step` values apart."""
    signal, step = _complex(x), int(np.ravel(step)[0])
    if length is not None:
        length = int(np.ravel(length)[0])
    else:
        length = signal.shape[1] if window is None else len(window)
    if step < 1 or not 1 <= length <= signal.shape[1]:
        raise ShapeError(f"frames of {length}, {step} apart, of a signal of {signal.shape[1]}")
    frames = np.lib.stride_tricks.sliding_window_view(signal, length, 1)[:, ::step]
    check_size((*frames.shape, 2), np.complex128)
    frames = frames if window is None else frames * window
    real = onesided and not np.iscomplexobj(frames)
    return _parts(np.fft.rfft(frames) if real else np.fft.fft(frames), x.dtype)


def mel_weight_matrix(bins, length, rate, low, high, *, output_datatype=1):
    """Triangles (frequencies, bins) that are evenly spaced in mel, ``2595 log10(1 + f / 700)``."""
    bins, length, rate = (int(v) for v in (bins, length, rate))
    check_size((length // 2 + 1, bins + 2), np.float64)
    first, last = (2595 * np.log10(1 + float(v) / 700) for v in (low, high))
    edges = first + np.arange(bins + 2) * ((last - first) / (bins + 2))
    hertz = 700 * (10 ** (edges / 2595) - 1)
    at = np.floor((length + 1) * hertz / rate).astype(np.int64)
    left, middle, right = at[:-2], at[1:-1], at[2:]
    place = np.arange(length // 2 + 1)[:, None]
    rising = (place - left) / np.maximum(middle - left, 1)
    falling = (right - place) / np.maximum(right - middle, 1)
    out = np.where((place >= left) & (place < middle), rising, 0)
    out = np.where((place >= middle) & (place < right), falling, out)
    out = np.where(place == middle, 1, out)
    return out.astype(dtype_of(output_datatype))


OPERATORS = operators({"DFT": dft, "MelWeightMatrix": mel_weight_matrix, "STFT": stft}, widen=True)
