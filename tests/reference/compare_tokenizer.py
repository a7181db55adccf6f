#!/usr/bin/env python3
"""Our token ids against Hugging Face's `tokenizers`, on text made to be awkward, on random text and
on real text; for the GPT-NeoX file and for others made of it with every option that we read.

    python3 tests/reference/compare_tokenizer.py build/release/tests/tokenizer_ids [--seed N]

Needs the `tokenizers` package. Ends with `figure tokenizer_mismatches N texts` and exit code 1 when
N is not 0. Compared for each text: the ids, the decoded bytes, and the count of U+FFFD put in."""
import argparse
import codecs
import copy
import glob
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

from tokenizers import Tokenizer, normalizers, pre_tokenizers

SHARED = os.environ.get("CARAVAN_SHARED", "../shared")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
SPACES = [chr(c) for c in (
    9, 10, 11, 12, 13, 28, 29, 30, 31, 32, 0x85, 0xA0, 0x1680, 0x180E, 0x200B, 0x2028, 0x2029,
    0x202F, 0x205F, 0x3000, 0xFEFF, *range(0x2000, 0x200B))]
MARKS = [chr(c) for c in (
    0x300, 0x301, 0x302, 0x304, 0x308, 0x30A, 0x30C, 0x31B, 0x323, 0x327, 0x328, 0x334, 0x338,
    0x345, 0x5B0, 0x5B4, 0x5BC, 0x64B, 0x651, 0x653, 0x93C, 0x94D, 0x9BE, 0x9D7, 0xB3E, 0xB57,
    0xBBE, 0xC56, 0xCC2, 0xCD5, 0xDCF, 0xF71, 0xF72, 0xF74, 0x102E, 0x1B35, 0x3099, 0x309A,
    0x1D165, 0x1D16E, 0x110BA, 0x11127, 0x114B0, 0x115AF, 0x11930, 0x16D67, 0x1161, 0x1175,
    0x11A8, 0x11C2)]
BASES = [chr(c) for c in (
    0x41, 0x61, 0x65, 0x6F, 0x73, 0x75, 0x3E, 0x3D, 0xC5, 0xE9, 0x1E0A, 0x3B1, 0x3C9, 0x415,
    0x5D0, 0x5E9, 0x627, 0x915, 0x9C7, 0xB47, 0xBC6, 0xC46, 0xCC6, 0xD46, 0xDD9, 0xF40, 0x1025,
    0x1B05, 0x1100, 0x1112, 0xAC00, 0xAC01, 0xD788, 0x304B, 0x30CF, 0x212B, 0x2126, 0x340,
    0x344, 0x958, 0xFB1D, 0xF900, 0x2F800, 0x1D15E, 0x11099, 0x11131, 0x16D63, 0x1134, 0x113C2,
    0x105D2)]
ENDS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'RE", "'lL", "'\u017f", "'l", "'r",
        "''", "'"]


def every_plane():
    """Every code point of Unicode once, alone between letters and in runs of its neighbours."""
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    for i in range(0, len(points), 64):
        yield "".join(map(chr, points[i:i + 64]))
        yield "".join("a" + chr(c) + " " for c in points[i:i + 64])
    for i in range(0, len(points), 499):
        yield "".join(" " + chr(c) + "1" + chr(c) + "\n" for c in points[i:i + 499])


def fixed():
    yield from ("", " ", "  ", "\n", "\r", "\r\n", "\0", "\0\0\0", "a", "'", "\ufffd", "\ufeffa",
                "<",
                "<|endoftext|>", "<|endoftext|><|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ",
                "<|endoftext|", "<|<|endoftext|>|>", "<|endoftex<|padding|>t|>", "<|padding|><|pad",
                "e<|endoftext|>\u0301", "<|endoftext|>\u0338", "Cafe\u0301",
                "\u212b\u2126\u1e9b\u0323")
    for n in range(1, 80):
        for space in (" ", "\t", "\n", "\r\n", "\u00a0", "\u3000"):
            yield from (space * n, "a" + space * n + "b", space * n + "1", "x" + space * n)
        yield from (" " * n + "\n" + " " * (80 - n), "\n" * n + " " * n + "def", "\t " * n,
                    "a " * n)
    for word in ("a", "ab", "the", "\u00e9", "\u4e2d", "\U0001f600", "0", "12", "-", "=", "_",
                 "xyz\u0301"):
        for n in (3, 33, 257, 4096, 100_000 // len(word)):
            yield word * n
    rng = random.Random(5)
    yield "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(100_000))
    yield "".join(rng.choice("etaoin") for _ in range(100_000))
    yield "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(33_000))
    yield "\u0301" * 30_000 + "a" + "\u0323\u0301\u0327" * 20_000
    for tail in ENDS:
        yield from ("it" + tail, "it" + tail + "x", tail, " " + tail, "a " + tail + " b",
                    "\u00e9" + tail * 3)


def invalid():
    """Bytes that are not UTF-8: every pair after an "a", and every edge of the longer forms."""
    for first in range(0x80, 0x100):
        yield b"".join(b"a" + bytes((first, second)) for second in range(256))
    edges = (0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xED, 0xF0,
             0xF4, 0xFF)
    for first in (0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4,
                  0xF5, 0xFF):
        for second in edges:
            yield b"".join(bytes((first, second, third, fourth)) + b"." for third in edges
                           for fourth in edges)
            yield from (bytes((first, second)), bytes((first, second, 0x80)), bytes((first,)))


def random_texts(rng, count, specials):
    pools = [SPACES, MARKS, BASES, ENDS, specials, [" ", "  ", "   ", "\n", "\t"],
             list("abcdefghijklmnopqrstuvwxyzABC"), list("0123456789"),
             list("!?.,;:-_=+*/\\|<>()[]{}'\"`~@#$%^&")]
    blocks = [(0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700),
              (0x900, 0xE00), (0xF00, 0x1200), (0x1E00, 0x2100), (0x3040, 0x3100),
              (0x4E00, 0xA000), (0xAC00, 0xD7A4), (0xF900, 0xFE00), (0x10000, 0x12000),
              (0x1D100, 0x1D200), (0x1F300, 0x1FB00), (0, 0xD800), (0x2F800, 0x2FA20),
              (0xE0000, 0x110000)]
    for _ in range(count):
        mix = rng.sample(pools, rng.randint(1, 4))
        block = rng.choice(blocks)
        out = []
        for _ in range(int(2 ** rng.uniform(1, 9))):
            if rng.random() < 0.3:
                out.append(chr(rng.randrange(*block)))
            else:
                out.append(rng.choice(rng.choice(mix)) * (rng.randint(1, 40)
                                                          if rng.random() < 0.05 else 1))
        text = "".join(out).encode("utf-8", "surrogatepass")
        if rng.random() < 0.2:
            text = bytearray(text)
            for _ in range(rng.randint(1, 5)):
                text[rng.randrange(len(text))] = rng.randrange(256)
            text = bytes(text)
        yield text


def real_texts():
    paths = [os.path.join(SHARED, "data/tinyshakespeare.txt")]
    paths += sorted(glob.glob("/usr/share/common-licenses/*"))
    paths += sorted(glob.glob("/usr/include/*.h"))[:150]
    paths += sorted(glob.glob("/usr/share/i18n/locales/*"))[:100]
    paths += sorted(glob.glob("*/*.[ch]"))[:60] + sorted(glob.glob("*/*/*.[ch]"))[:60]
    for path in paths:
        if os.path.isfile(path):
            with open(path, "rb") as f:
                yield f.read(2_000_000)


def variants(base, folder):
    """(name, path) of files made of the base, one for each thing that a file may say."""
    def variant(name, **parts):
        made = copy.deepcopy(base)
        made["model"].update(parts.pop("model", {}))
        made.update(parts)
        path = os.path.join(folder, name + ".json")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(made, f)
        return name, path

    def added(*rows):
        known = [t["content"] for t in base["added_tokens"]]
        out = copy.deepcopy(base["added_tokens"])
        fresh = 50277  # the library numbers them so, save those that the vocabulary has
        for content, flags in rows:
            assert content not in known
            number = base["model"]["vocab"].get(content, fresh)
            fresh += number == fresh
            out.append({"id": number, "content": content,
                        **{k: k in flags for k in ("single_word", "lstrip", "rstrip", "normalized",
                                                   "special")}})
        return out

    def split(regex, **more):
        return {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False,
             **more},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": False}]}

    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    pairs = [m.split(" ") for m in base["model"]["merges"]]
    yield variant("plain")
    yield variant("no_normalizer", normalizer=None)
    yield variant("prefix_space", pre_tokenizer={**level, "add_prefix_space": True})
    yield variant("whole", pre_tokenizer={**level, "use_regex": False}, model={"merges": pairs})
    yield variant("llama3", pre_tokenizer=split(LLAMA3),
                  model={"ignore_merges": True, "byte_fallback": False})
    yield variant("qwen2", pre_tokenizer=split(QWEN2, behavior="Removed", invert=True),
                  added_tokens=[],
                  model={"unk_token": "a", "fuse_unk": True, "dropout": 0.0})
    yield variant("strips", added_tokens=added(
        ("<l>", ["lstrip"]), ("<r>", ["rstrip"]), ("<lr>", ["lstrip", "rstrip", "special"]),
        ("<w>", ["single_word"]), ("<wn>", ["single_word", "normalized", "lstrip"]),
        ("<rn>", ["rstrip", "normalized"]), ("\n\n", ["rstrip", "normalized"]),
        ("\u00e9\u0323", ["normalized"]), ("e\u0301e", []), ("the", ["single_word"]), ("<", []),
        ("<|", ["special"]),
        ("\u212b", ["normalized", "special"])))


SPECIALS = {"strips": ["<l>", "<r>", "<lr>", "<w>", "<wn>", "<rn>", "\n\n", "\u00e9\u0323",
                       "e\u0301e", "the", "<",
                       "<|", "\u212b", "\u00c5", "A\u030a", "e\u0323\u0301"]}


def python_repair(text):
    """The text as Python repairs it, and how many U+FFFD that took."""
    count = [0]

    def replace(error):
        count[0] += 1
        return "\ufffd", error.end
    codecs.register_error("counted", replace)
    repaired = text.decode("utf-8", "counted")
    assert repaired == text.decode("utf-8", "replace")
    return repaired, count[0]


def ours(program, path, texts):
    data = b"".join(struct.pack("<I", len(t)) + t for t in texts)
    out = subprocess.run([program, path], input=data, stdout=subprocess.PIPE, check=True).stdout
    at = 0
    for _ in texts:
        count, = struct.unpack_from("<I", out, at)
        ids = list(struct.unpack_from(f"<{count}I", out, at + 4))
        at += 4 + 4 * count
        size, = struct.unpack_from("<I", out, at)
        back = out[at + 4:at + 4 + size]
        replaced, = struct.unpack_from("<I", out, at + 4 + size)
        at += 8 + size
        yield ids, back, replaced
    assert at == len(out)


def decoded_should_be(text, tokenizer_json):
    """Between the special tokens, which are cut out first, the text comes back normalised."""
    if tokenizer_json["normalizer"] is None:
        return text
    for token in ("<|endoftext|>", "<|padding|>"):
        text = text.replace(token, f"\ue0ff{token}\ue0ff")
    nfc = normalizers.NFC()
    return "".join(nfc.normalize_str(part) for part in text.split("\ue0ff"))


def compare(program, name, path, texts):
    theirs = Tokenizer.from_file(path)
    with open(path, encoding="utf-8") as f:
        description = json.load(f)
    wrong = 0
    for text, (ids, back, replaced) in zip(texts, ours(program, path, texts)):
        repaired, count = python_repair(text)
        want = theirs.encode(repaired, add_special_tokens=False).ids
        faults = []
        if ids != want:
            first = next((i for i, (a, b) in enumerate(zip(ids, want)) if a != b),
                         min(len(ids), len(want)))
            faults.append(f"ids differ from place {first}: "
                          f"{ids[first:first + 6]} not {want[first:first + 6]}")
        if replaced != count:
            faults.append(f"{replaced} replaced, not {count}")
        if name in ("plain", "no_normalizer", "whole", "llama3") and "\ue0ff" not in repaired \
                and back != decoded_should_be(repaired, description).encode():
            faults.append("decoded text differs")
        if faults:
            wrong += 1
            if wrong <= 5:
                print(f"  {name}: {ascii(text[:120])} ({len(text)} bytes): " + "; ".join(faults))
    megabytes = sum(map(len, texts)) / 1e6
    print(f"  {name:14}  {len(texts):7} texts  {megabytes:6.1f} MB  {wrong} differ", flush=True)
    return wrong


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("program")
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--random", type=int, default=4000, help="random texts for each file")
    arguments = arguments.parse_args()
    original = os.path.join(SHARED, "data/20B_tokenizer.json")
    if not os.path.exists(original):
        print(f"SKIP: {original} is not there, so no token ids were compared")
        return 0
    with open(original, encoding="utf-8") as f:
        base = json.load(f)
    encoded = lambda texts: [t.encode() if isinstance(t, str) else t for t in texts]
    common = encoded(fixed()) + list(invalid()) + list(real_texts())
    planes = encoded(every_plane())
    wrong = total = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, path in variants(base, folder):
            rng = random.Random(f"{arguments.seed} {name}")
            specials = SPECIALS.get(name, ["<|endoftext|>", "<|padding|>", "<|endof", "  "])
            texts = common + list(random_texts(rng, arguments.random, specials))
            if name != "plain":
                texts = [t for t in texts if len(t) < 50_000]
            # What is a letter or a mark does not depend on the other options.
            some = rng.sample(planes, len(planes) // 10)
            texts += planes if name in ("plain", "llama3") else some
            wrong += compare(arguments.program, name, path, texts)
            total += len(texts)
    print(f"{total} texts compared")
    print(f"figure tokenizer_mismatches {wrong} texts")
    return 1 if wrong else 0


sys.exit(main())
