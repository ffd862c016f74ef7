"""Writes letter_model.inc from a word list: how many sixteenths of a bit a letter costs after the two before it.

    python3 letter_model.py /usr/share/dict/american-english > letter_model.inc

The table in the repository was made from Debian's wamerican 2020.12.07 (SCOWL, whose licence grants use, change and
distribution of derived works). It holds no words, only counts of letters."""
import collections
import math
import re
import sys

SYMBOLS = "^abcdefghijklmnopqrstuvwxyz$"  # beginning, letters, end
lines = open(sys.argv[1], encoding="utf-8")
words = sorted({word for word in (line.strip().lower() for line in lines) if re.fullmatch("[a-z]+", word)})
triples, pairs = collections.Counter(), collections.Counter()
for word in words:
    letters = f"^^{word}$"
    for i in range(2, len(letters)):
        triples[letters[i - 2:i + 1]] += 1
        pairs[letters[i - 2:i]] += 1

print(f"// Made by letter_model.py from {len(words)} words. [two before][letter a to z, end]")
for first in SYMBOLS[:-1]:
    for second in SYMBOLS[:-1]:
        # A twentieth of a count for what was never seen.
        costs = [-math.log2((triples[first + second + third] + 0.05) / (pairs[first + second] + 27 * 0.05)) for third in SYMBOLS[1:]]
        print(",".join(str(min(255, round(16 * cost))) for cost in costs) + ",")
