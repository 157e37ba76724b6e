#!/usr/bin/env python3
"""Writes nfc_tables.h from Python's Unicode database: python3 make_nfc_tables.py > nfc_tables.h"""
import sys
import textwrap
import unicodedata as u


def array(kind, name, values):
    print(f"inline constexpr {kind} {name}[] = {{")
    print(textwrap.fill(" ".join(v + "," for v in values), 100))
    print("};\n")


def main():
    singles, pairs, classes = [], [], []
    for cp in range(sys.maxunicode + 1):
        c = chr(cp)
        if u.combining(c):
            if classes and classes[-1][1] == cp - 1 and classes[-1][2] == u.combining(c):
                classes[-1][1] = cp
            else:
                classes.append([cp, cp, u.combining(c)])
        parts = u.decomposition(c).split()
        if not parts or parts[0].startswith("<"):
            continue
        to = [int(p, 16) for p in parts]
        if len(to) == 1:
            singles.append(f"{{0x{cp:X},0x{to[0]:X}}}")
        else:
            again = u.normalize("NFC", u.normalize("NFD", c)) == c
            pairs.append(f"{{0x{cp:X},0x{to[0]:X},0x{to[1]:X},{int(again)}}}")
    print(f"""// Canonical decompositions and combining classes of Unicode {u.unidata_version}, for nfc.cpp.
// Written by make_nfc_tables.py; do not edit.
#pragma once

#include <cstdint>

namespace layerscope::tokenizer::nfc_tables {{

struct Single {{
  std::uint32_t from, to;
}};
struct Pair {{
  std::uint32_t from, first, second;
  bool composes;  ///< false: excluded from composition
}};
struct Class {{
  std::uint32_t first, last;
  std::uint8_t value;
}};

// clang-format off""")
    array("Single", "kSingles", singles)
    array("Pair", "kPairs", pairs)
    array("Class", "kClasses", [f"{{0x{a:X},0x{b:X},{v}}}" for a, b, v in classes])
    print("// clang-format on\n\n}  // namespace layerscope::tokenizer::nfc_tables")


main()
