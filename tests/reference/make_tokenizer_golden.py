#!/usr/bin/env python3
"""Write tests/golden/tokenizer_small.json (a few hundred merges, trained here) and the ids that
Hugging Face's `tokenizers` gives with it, and with the GPT-NeoX file, to some awkward texts.

    python3 tests/reference/make_tokenizer_golden.py TRAINING_TEXT 20B_tokenizer.json

Each line of tokenizer_small.txt and tokenizer_20b.txt is a text and its ids with a tab between;
bytes outside printable ASCII, and the backslash, are written \\xHH. Needs `tokenizers`."""
import json
import random
import sys

from tokenizers import (AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers,
                        trainers)

GOLDEN = "tests/golden/"


def texts():
    yield from ("", " ", "a", "Hello world",
                "The quick brown fox doesn't jump; it's asleep, they'll say.",
                "I'VE we'll WE'LL he'd 'tis ''s", "x = 3.14159 + 2**10  # comment",
                "\tif (a->b != 0) {\r\n\t\treturn;\r\n\t}",
                "line\n\n\nline\n   \n end  ", " leading", "trailing ", "  two", "   three",
                "\u00a0nbsp\u3000wide\u2028sep\u0085nel",
                "caf\u00e9 cafe\u0301 \u212b \u1e9b\u0323 "
                "\u1100\u1161\u11a8 \uac00\u11a8 a\u0323\u0301\u0327 \u0958 \u0344",
                "\u6f22\u5b57\u304b\u306a\u4ea4\u3058\u308a\u6587 "
                "\u041f\u0440\u0438\u0432\u0435\u0442 "
                "\u0645\u0631\u062d\u0628\u0627 \u0928\u092e\u0938\u094d\u0924\u0947",
                "\U0001f600\U0001f469\u200d\U0001f4bb \u2603\ufe0f "
                "\U0001d54f \U000e0041 \U0010ffff \ufdd0 \u0378 \u0560\u0588",
                "<|endoftext|>", "one<|endoftext|>two", " <|endoftext|> <|endoftext",
                "<|endoftext|>\u0338e<|endoftext|>\u0301",
                "\0\0a\0", "1234567890 12 \u0661\u0662\u0663 \u2167\u00bd",
                "def f(x):\n        return x  *  2\n" + " " * 30 + "end")
    for n in (2, 3, 7, 23, 24, 25, 49):
        yield "a" + " " * n + "b" + "\n" * n + "\t" * n
    yield from (b"\xff", b"a\xe2\x82b", b"\xed\xa0\x80\xed\xb0\x80", b"\xf0\x9f\x98",
                b"\xf4\x90\x80\x80", b"\xc0\xaf\xe0\x80\xaf",
                b"ok \xc3\xa9 \xc3( \xe2\x28\xa1", b"\xef\xbf\xbd\xfe")
    rng = random.Random(2)
    yield "".join(rng.choice("etaoinshrdlu") for _ in range(300))
    yield "ab" * 200
    for low, high in ((0x21, 0x7F), (0xA0, 0x600), (0x900, 0x1200), (0x3040, 0xA000), (0xAC00,
        0xD7A4), (0x10000, 0x1FFFF)):
        yield "".join(chr(rng.randrange(low, high)) for _ in range(40))


def escaped(text):
    return "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in text)


def write(name, tokenizer):
    with open(GOLDEN + name, "w") as f:
        for text in texts():
            text = text.encode() if isinstance(text, str) else text
            ids = tokenizer.encode(text.decode("utf-8", "replace"), add_special_tokens=False).ids
            f.write(escaped(text) + "\t" + " ".join(map(str, ids)) + "\n")


def main():
    small = Tokenizer(models.BPE())
    small.normalizer = normalizers.NFC()
    small.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    small.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=257 + 300, special_tokens=["<|endoftext|>"],
                                  show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    with open(sys.argv[1], encoding="utf-8") as f:
        small.train_from_iterator(f.read(400_000).splitlines(keepends=True), trainer)
    small.add_tokens([AddedToken(" " * n, normalized=True) for n in (6, 4, 3, 2)])
    description = json.loads(small.to_str())
    description["model"]["merges"] = [" ".join(m) for m in description["model"]["merges"]]
    with open(GOLDEN + "tokenizer_small.json", "w") as f:
        json.dump(description, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")
    write("tokenizer_small.txt", Tokenizer.from_file(GOLDEN + "tokenizer_small.json"))
    write("tokenizer_20b.txt", Tokenizer.from_file(sys.argv[2]))


main()
