#!/usr/bin/env python3
"""Write node/text/unicode_tables.c: what Hugging Face's `tokenizers` takes for a letter, a number,
a space and a word character, and how it composes characters.

    python3 tests/reference/make_unicode_tables.py > node/text/unicode_tables.c

Every table is read off the library itself, one code point at a time, because its parts follow
different Unicode versions (its split patterns a newer one than its normaliser) and an id that
differs is a different model. Only the order of combining marks is proposed by Python's unicodedata,
and then proved on the library: each mark against one of every class.
Needs the `tokenizers` package; the version that was read stands in the file it writes."""
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers

ALL = [cp for cp in range(0x110000) if not 0xD800 <= cp < 0xE000]
HANGUL = range(0xAC00, 0xAC00 + 11172)
NFC, NFD = normalizers.NFC().normalize_str, normalizers.NFD().normalize_str


def members(pattern):
    """Code points that the pattern matches in the split pre-tokeniser."""
    split = pre_tokenizers.Split(Regex(pattern), "removed", invert=True)
    return [cp for cp in ALL if split.pre_tokenize_str(chr(cp))]


def word_members():
    """Code points beside which an added token with single_word is not taken."""
    probe = Tokenizer(models.BPE())
    probe.add_tokens([AddedToken("<x>", single_word=True, normalized=False)])
    return [cp for cp in ALL if not probe.encode("<x>" + chr(cp)).ids]


def strip_members():
    """Code points that an added token with rstrip swallows."""
    probe = Tokenizer(models.BPE())
    probe.add_tokens([AddedToken("<x>", rstrip=True, normalized=False)])
    return [cp for cp in ALL if probe.encode("<x>" + chr(cp)).offsets[0][1] == 4]


def combining_classes():
    """{code point: class}, proved by which pairs the library puts in another order."""
    proposed = {cp: unicodedata.combining(chr(cp)) for cp in ALL if unicodedata.combining(chr(cp))}
    swaps = lambda x, y: NFD("a" + chr(x) + chr(y)) == "a" + chr(y) + chr(x)
    plain = {cp: c for cp, c in proposed.items() if NFD(chr(cp)) == chr(cp)}
    known = {cp: c for cp, c in plain.items() if swaps(cp, 0x334) or swaps(0x301, cp)}
    one_of = {}
    for cp, c in known.items():
        one_of.setdefault(c, cp)
    for cp, c in known.items():
        for other, probe in one_of.items():
            if swaps(cp, probe) != (c > other) and cp != probe:
                sys.exit(f"U+{cp:04X}: class {c} is not what the library uses")
    for cp in proposed.keys() - plain.keys():  # marks that decompose into marks: the first one's
        known[cp] = known[ord(NFD(chr(cp))[0])]
    strangers = [cp for cp in ALL if cp not in known and (swaps(cp, 0x334) or swaps(0x301, cp))
                 and NFD(chr(cp)) == chr(cp)]
    if strangers:
        sys.exit(f"marks that unicodedata does not know: {strangers}")
    return known


def decompositions():
    """(composite, first, second or 0, composes) one step at a time, Hangul left to arithmetic."""
    rows = []
    for cp in ALL:
        if cp in HANGUL or NFD(chr(cp)) == chr(cp):
            continue
        parts = [int(p, 16) for p in unicodedata.decomposition(chr(cp)).split()]
        whole = "".join(map(chr, parts))
        if not 1 <= len(parts) <= 2 or NFD(whole) != NFD(chr(cp)):
            sys.exit(f"U+{cp:04X}: the library decomposes it otherwise than unicodedata")
        composes = NFC(whole) == chr(cp)
        if composes != (NFC(chr(cp)) == chr(cp)):
            sys.exit(f"U+{cp:04X}: composes one way and not the other")
        rows.append((cp, parts[0], parts[1] if len(parts) == 2 else 0, int(composes)))
    return rows


def ranges(points):
    out = []
    for cp in sorted(points):
        if out and cp == out[-1][1]:
            out[-1][1] = cp + 1
        else:
            out.append([cp, cp + 1])
    return out


def print_rows(kind, name, items):
    print(f"\nconst struct {kind} unicode_{name}[] = {{")
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 98:
            print(line)
            line = "   "
        line += " " + item + ","
    print(line + "\n};")
    print(f"const size_t unicode_{name}_count = sizeof unicode_{name} / sizeof unicode_{name}[0];")


def main():
    letters, numbers, spaces = members(r"\p{L}"), members(r"\p{N}"), members(r"\s")
    if spaces != strip_members():
        sys.exit("the split pattern and the added tokens do not mean the same spaces")
    print(f"""/* Written by tests/reference/make_unicode_tables.py, which read them off `tokenizers`
 * {tokenizers.__version__}; do not edit. One table of data, hence its length. */
#include "node/text/unicode_tables.h"

/* clang-format off */""")
    for name, points in (("letters", letters), ("numbers", numbers), ("spaces", spaces),
                         ("words", word_members())):
        print_rows("unicode_range", name, [f"{{0x{b:x}, 0x{e:x}}}" for b, e in ranges(points)])
    classes = combining_classes()
    marks = []
    for c in sorted(set(classes.values())):
        marks += [(b, e, c) for b, e in ranges(cp for cp in classes if classes[cp] == c)]
    print_rows("unicode_mark", "marks", [f"{{0x{b:x}, 0x{e:x}, {c}}}" for b, e, c in sorted(marks)])
    print_rows("unicode_pair", "pairs",
               [f"{{0x{c:x}, 0x{a:x}, 0x{b:x}, {k}}}" for c, a, b, k in decompositions()])


main()
