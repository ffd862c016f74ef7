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
        if decoded_wrongly(text):
            left_out += 1
            continue
        assert answer["padded"] == tokenizer([text])[0].tolist(), repr(text)
    print(f"{len(texts)} strings, {left_out} left out because ftfy takes them for wrongly decoded")
    assert left_out < len(texts) / 20


def test_no_public_prompt_looks_wrongly_decoded():
    assert [text for text in public_prompts() if decoded_wrongly(text)] == []
