"""The C++ CLIP tokenizer with open_clip's cleaning against open_clip itself, and RepairText against ftfy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import ftfy
import open_clip
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scorer"))
from score_command import write_clip_vocabulary  # noqa: E402
from test_clip_tokenizer import public_prompts, random_strings  # noqa: E402

TOOL = Path(os.environ["RSIDIFF_BIN"]) / "tokenize_text"

REFERENCES = ["&amp;amp; &lt;b&gt; &notanentity; &copy &copy; &#233;&#xE9;&#150; &#0; &#1114112;", "<b>&eacute;</b> &eacute;",
              "“curly” ‘quotes’ ﬁne ﬀ ﬄ ĳ", "ＦＵＬＬ ｗｉｄｔｈ　ｶﾀｶﾅ", "line\r\nbreaks\rof\u2028all\u2029kinds\x85", "\x1b[31mred\x1b[0m",
              "tab\tand\x00control\x0c", "e\u0301 \u212b", "ΟΔΟΣ ΣΑΣ", "<start_of_text> a <end_of_text>", "it's we'll 'ſ",
              "\ufeffmark", "a &Aacute; B", "1 &frac12; cups"]


# Letters and numbers that came with Unicode 17, which the pinned `regex` has. transformers' tokenizers and ours have Unicode 16's.
NEW_LETTERS = [range(first, last + 1) for first, last in (
    (0x88F, 0x88F), (0xC5C, 0xC5C), (0xCDC, 0xCDC), (0xA7CE, 0xA7CF), (0xA7D2, 0xA7D2), (0xA7D4, 0xA7D4), (0xA7F1, 0xA7F1),
    (0x10940, 0x10959), (0x10EC5, 0x10EC7), (0x11DB0, 0x11DDB), (0x11DE0, 0x11DE9), (0x16EA0, 0x16EB8), (0x16EBB, 0x16ED3),
    (0x16FF2, 0x16FF6), (0x187F8, 0x187FF), (0x18D09, 0x18D1E), (0x18D80, 0x18DF2), (0x1E6C0, 0x1E6DE), (0x1E6E0, 0x1E6E2),
    (0x1E6E4, 0x1E6E5), (0x1E6E7, 0x1E6ED), (0x1E6F0, 0x1E6F4), (0x1E6FE, 0x1E6FF), (0x2B73A, 0x2B73F), (0x2CEA2, 0x2CEAD),
    (0x323B0, 0x33479))]


def has_new_letter(text):
    return any(ord(sign) in letters for sign in text for letters in NEW_LETTERS)


def decoded_wrongly(text):
    """Whether ftfy guesses that the text was decoded with the wrong encoding: a heuristic that we leave out."""
    return ftfy.fix_text(text) != ftfy.fix_text(text, fix_encoding=False)


def ask(kind, texts, *folder):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run([TOOL, kind, *folder], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def texts():
    return [*public_prompts(), *REFERENCES, *random_strings(4000, 5)]


def test_repairs_are_ftfys(texts):
    for text, repaired in zip(texts, ask("repair", texts), strict=True):
        assert repaired == ftfy.fix_text(text, fix_encoding=False), repr(text)


def test_ids_are_open_clips(texts, tmp_path):
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    folder = write_clip_vocabulary(tmp_path / "tokenizer")
    answers = ask("open_clip", texts, folder)
    left_out = 0
    for text, answer in zip(texts, answers, strict=True):
        if decoded_wrongly(text) or has_new_letter(text):
            left_out += 1
            continue
        assert answer["padded"] == tokenizer([text])[0].tolist(), repr(text)
    print(f"{len(texts)} strings, {left_out} left out: ftfy takes them for wrongly decoded, or they have letters of Unicode 17")
    assert left_out < len(texts) / 20


def test_no_public_prompt_looks_wrongly_decoded():
    assert [text for text in public_prompts() if decoded_wrongly(text)] == []
