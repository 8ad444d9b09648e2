"""What the machine that kernels are compiled for can do, and where compiled kernels are kept."""

import atexit
import contextlib
import functools
import hashlib
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import llvmlite.binding as llvm

_PROBE = """
define void @probe(ptr %p) {
  %x = load <16 x float>, ptr %p
  %y = fadd <16 x float> %x, %x
  store <16 x float> %y, ptr %p
  ret void
}
"""

_DOT_PROBE = """
declare i32 @llvm.vector.reduce.add.v64i32(<64 x i32>)
define i32 @probe(ptr %p, ptr %q) {
  %a = load <64 x i8>, ptr %p
  %b = load <64 x i8>, ptr %q
  %x = EXTEND <64 x i8> %a to <64 x i32>
  %y = sext <64 x i8> %b to <64 x i32>
  %m = mul <64 x i32> %x, %y
  %s = call i32 @llvm.vector.reduce.add.v64i32(<64 x i32> %m)
  ret i32 %s
}
"""


def target():
    """Name and feature string of the CPU that kernels are compiled for.

    ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` override the host's. A CPU that is named without
    features has those of its name.
    """
    name = os.environ.get("NUMBA_CPU_NAME")
    features = os.environ.get("NUMBA_CPU_FEATURES")
    if name is None and features is None:
        features = llvm.get_host_cpu_features().flatten()
    return name or llvm.get_host_cpu_name(), features or ""


def machine(triple):
    """LLVM's code generator for kernels that run in this process."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu, features = target()
    x86 = triple.startswith(("x86", "i386", "i686"))
    return llvm.Target.from_triple(triple).create_target_machine(
        cpu=cpu,
        features=features,
        opt=3,
        reloc="static" if x86 else "default",
        codemodel="jitdefault",
        jit=True,
    )


def engine():
    """An engine of LLVM's that object code can be loaded into."""
    module = llvm.parse_assembly(f'target triple = "{llvm.get_process_triple()}"')
    return llvm.create_mcjit_compiler(module, machine(module.triple))


def assembly(ir, cpu, features="", triple=None):
    """Assembly that LLVM emits for textual IR on a given CPU."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly(ir)
    module.triple = triple or llvm.get_process_triple()
    machine = llvm.Target.from_triple(module.triple).create_target_machine(
        cpu=cpu, features=features, opt=3
    )
    module.data_layout = str(machine.target_data)
    return machine.emit_assembly(module)


@functools.cache
def lanes():
    """Lanes of float32 that suit the target: 16, 8 or 4.

    ``RVCNN_LANES`` overrides it. Any value works on any machine; it only changes the speed.
    """
    wish = os.environ.get("RVCNN_LANES")
    if wish in ("4", "8", "16"):
        return int(wish)
    text = assembly(_PROBE, *target())
    return 16 if "zmm" in text else 8 if "ymm" in text else 4


_SHORTS_PROBE = """
declare <32 x i16> @llvm.sadd.sat.v32i16(<32 x i16>, <32 x i16>)
define <32 x i16> @probe(<32 x i16> %x, <32 x i16> %y) {
  %s = call <32 x i16> @llvm.sadd.sat.v32i16(<32 x i16> %x, <32 x i16> %y)
  ret <32 x i16> %s
}
"""


@functools.cache
def packs():
    """Shorts of the widest register that x86 narrows with saturation: 32, 16, or 0 for none."""
    text = assembly(_SHORTS_PROBE, *target())
    add = next((line for line in text.splitlines() if "vpaddsw" in line), "")
    return 32 if "zmm" in add else 16 if "ymm" in add else 0


_BYTES_PROBE = """
define <64 x i8> @probe(<64 x i8> %x) {
  %s = shufflevector <64 x i8> %x, <64 x i8> poison, <64 x i32> <ORDER>
  ret <64 x i8> %s
}
"""


@functools.cache
def looks_up():
    """Whether x86 takes any of 128 bytes for each byte of a register."""
    order = ", ".join(f"i32 {i * 37 % 64}" for i in range(64))
    return "vpermb" in assembly(_BYTES_PROBE.replace("ORDER", order), *target())


class Dot(NamedTuple):
    """How the target adds up products of bytes.

    Attributes
    ----------
    instruction : str
        "vpdpbusd", "usdot", "sdot", or "pmaddwd" for products of 16-bit values, which any target
        has.
    group : int
        Bytes that one lane of 32 bits takes.
    lanes : tuple of int
        Lanes the instruction comes with, the most first.
    offset : int
        What is missing from each unsigned byte: ``sdot`` takes them as signed, 128 less.
    """

    instruction: str
    group: int
    lanes: tuple[int, ...]
    offset: int = 0


@functools.cache
def dot():
    """How the target adds up products of bytes; ``RVCNN_DOT=pmaddwd`` takes what any target has."""
    if os.environ.get("RVCNN_DOT") == "pmaddwd":
        return Dot("pmaddwd", 2, ())
    mixed = assembly(_DOT_PROBE.replace("EXTEND", "zext"), *target())
    if "vpdpbusd" in mixed:
        wide = any("vpdpbusd" in line and "zmm" in line for line in mixed.splitlines())
        return Dot("vpdpbusd", 4, (16, 8, 4) if wide else (8, 4))
    if "usdot" in mixed:
        return Dot("usdot", 4, (4,))
    if "sdot" in assembly(_DOT_PROBE.replace("EXTEND", "sext"), *target()):
        return Dot("sdot", 4, (4,), offset=128)
    return Dot("pmaddwd", 2, ())


def user_cache():
    """Folder of what rvcnn keeps for this user: ``RVCNN_CACHE_DIR``, or the system's own place."""
    if os.environ.get("RVCNN_CACHE_DIR"):
        return Path(os.environ["RVCNN_CACHE_DIR"])
    if os.environ.get("NUMBA_CACHE_DIR"):
        return Path(os.environ["NUMBA_CACHE_DIR"]) / "rvcnn"
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "rvcnn"


@functools.cache
def cache_dir():
    """Folder of the compiled kernels of this source, toolchain and CPU.

    The folder's name is a digest of every kernel's source, the compilers' versions and the CPU.
    Where the user's cache folder cannot
    be written, a private temporary one is used and nothing outlives the process.
    """
    digest = hashlib.sha256()
    for part in (*target(), version("numba"), version("llvmlite")):
        digest.update(f"{part}\0".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    try:
        path = user_cache() / "kernels" / digest.hexdigest()[:16]
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except (OSError, RuntimeError):
        path = Path(tempfile.mkdtemp(prefix="rvcnn-kernels-"))
        atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def keep(path, data):
    """Write a file of the cache, if that can be; readers see all of it or none."""
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(data).digest() + data)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)


def kept(path):
    """What :func:`keep` wrote, or None where it is absent or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, data = content[:32], content[32:]
    return data if hashlib.sha256(data).digest() == digest else None
