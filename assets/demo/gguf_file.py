"""Reads and writes the part of GGUF v3 (little endian) that the demo model needs.

Layout: header, metadata, tensor table, then tensor data aligned to 32 bytes. Source: the GGUF
specification of the ggml project. Tensors are numpy float16 or float32, row-major; GGUF lists their
dimensions innermost first.
"""

import struct

import numpy as np

ALIGNMENT = 32
U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
TENSOR_TYPES = {np.dtype(np.float32): 0, np.dtype(np.float16): 1}


def pack_string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def pack_value(kind, value):
    if kind == STRING:
        return pack_string(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def pack_entry(key, kind, value):
    """`kind` is a type, or (ARRAY, element type)."""
    if isinstance(kind, tuple):
        body = struct.pack("<IIQ", ARRAY, kind[1], len(value)) + b"".join(
            pack_value(kind[1], v) for v in value
        )
    else:
        body = struct.pack("<I", kind) + pack_value(kind, value)
    return pack_string(key) + body


def padding(size):
    return b"\0" * (-size % ALIGNMENT)


def write(path, metadata, tensors):
    """metadata: [(key, kind, value)]; tensors: {name: array}, in file order."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata))
    head += b"".join(pack_entry(*entry) for entry in metadata)
    offset = 0
    for name, array in tensors.items():
        dims = array.shape[::-1]
        head += pack_string(name) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        head += struct.pack("<IQ", TENSOR_TYPES[array.dtype], offset)
        offset += array.nbytes + len(padding(array.nbytes))
    with open(path, "wb") as file:
        file.write(head + padding(len(head)))
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes() + padding(array.nbytes))


class Reader:
    """`metadata` {key: value} and `tensors` {name: array} of a file written by write()."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.data = file.read()
        self.at = 0
        magic, version, n_tensors, n_entries = self.take("<4sIQQ")
        if magic != b"GGUF" or version != 3:
            raise ValueError(f"{path}: not a GGUF v3 file")
        self.metadata = {}
        for _ in range(n_entries):
            key = self.string()
            self.metadata[key] = self.value(self.take("<I")[0])
        table = []
        for _ in range(n_tensors):
            name = self.string()
            dims = self.take(f"<{self.take('<I')[0]}Q")
            table.append((name, dims[::-1], *self.take("<IQ")))
        base = self.at + len(padding(self.at))
        types = {code: dtype for dtype, code in TENSOR_TYPES.items()}
        self.tensors = {}
        for name, shape, code, offset in table:
            count = int(np.prod(shape))
            self.tensors[name] = np.frombuffer(
                self.data, types[code], count, base + offset
            ).reshape(shape)

    def take(self, layout):
        values = struct.unpack_from(layout, self.data, self.at)
        self.at += struct.calcsize(layout)
        return values

    def string(self):
        length = self.take("<Q")[0]
        self.at += length
        return self.data[self.at - length : self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, count = self.take("<IQ")
            return [self.value(element) for _ in range(count)]
        return self.take({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind])[0]
