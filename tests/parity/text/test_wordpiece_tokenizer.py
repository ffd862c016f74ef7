"""The C++ WordPiece tokenizer against transformers' BertTokenizer: identical ids."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import BertTokenizer

from test_clip_tokenizer import code_points, long_texts, public_prompts, random_strings

TOOL = Path(os.environ["RSIDIFF_BIN"]) / "tokenize_text"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SPELLED = ["[CLS] a [SEP]", "[PAD][PAD]", "[cls]", "a [DEC] b[ENC]c", "[MASK]ed", "[UNK", "##a ## a##b", "a[ SEP ]"]


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    """6,000 pieces of the prompts and of some scripts, in both positions."""
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer()
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=5000, special_tokens=SPECIAL, show_progress=False)
    trained.train_from_iterator(public_prompts(), trainer)
    tokens = sorted(trained.get_vocab(), key=trained.get_vocab().get)
    for first, last in ((0xDF, 0x250), (0x370, 0x530), (0x5D0, 0x650), (0x904, 0x940), (0x3041, 0x3100), (0x4E00, 0x4E80)):
        for point in range(first, last):
            tokens += [token for token in (chr(point), "##" + chr(point)) if token not in tokens]
    folder = tmp_path_factory.mktemp("vocabulary")
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    return folder


def texts():
    return (list(public_prompts()) + list(code_points()) + list(random_strings(6000, 4)) + list(long_texts()) + SPELLED
            + ["a" * length for length in (99, 100, 101)] + ["é" * 100, "é" * 101, "ПРИВЕТ мир", "Ünïcödé İstanbul", "日本語 text"])


def tokenize(folder, lines):
    done = subprocess.run([TOOL, "wordpiece", folder], input="".join(json.dumps(line) + "\n" for line in lines),
                          capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def variant(vocabulary, tmp_path, config):
    (tmp_path / "vocab.txt").write_bytes((vocabulary / "vocab.txt").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return tmp_path


@pytest.mark.parametrize("config", [
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False},
])
def test_ids_equal_transformers(config, vocabulary, tmp_path):
    folder = variant(vocabulary, tmp_path, config | {"tokenizer_class": "BertTokenizer"})
    expected = BertTokenizer.from_pretrained(folder)
    expected.add_special_tokens({"bos_token": "[DEC]"})
    expected.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
    lines = texts()
    assert len(lines) > 5000
    ours = tokenize(folder, lines)
    assert len(ours) == len(lines)
    raw = expected(lines, add_special_tokens=False).input_ids
    padded = expected(lines, padding="max_length", truncation=True, max_length=35)
    wrong = [(text, a["raw"], b) for text, a, b in zip(lines, ours, raw) if a["raw"] != b]
    assert not wrong, (len(wrong), wrong[:3])
    assert [a["padded"] for a in ours] == padded.input_ids
    assert [a["used"] for a in ours] == [sum(mask) for mask in padded.attention_mask]
    assert [a["truncated"] for a in ours] == [len(ids) > 33 for ids in raw]
    known = sum(unknown != 1 for ids in raw for unknown in ids) / sum(map(len, raw))
    assert known > 0.5  # else the comparison would be of [UNK] with [UNK]


@pytest.mark.parametrize("config, message", [
    ("{", "tokenizer_config.json: not a JSON object"),
    ({"do_lower_case": "yes"}, "tokenizer_config.json: do_lower_case is not true or false"),
])
def test_bad_settings_are_refused(config, message, vocabulary, tmp_path):
    done = subprocess.run([TOOL, "wordpiece", variant(vocabulary, tmp_path, config)], input="", capture_output=True, text=True)
    assert done.returncode == 1 and message in done.stderr


def test_missing_file_and_token_are_named(tmp_path):
    done = subprocess.run([TOOL, "wordpiece", tmp_path], input="", capture_output=True, text=True)
    assert done.returncode == 1 and str(tmp_path / "vocab.txt") in done.stderr
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n")
    done = subprocess.run([TOOL, "wordpiece", tmp_path], input="", capture_output=True, text=True)
    assert done.returncode == 1 and "no token [SEP]" in done.stderr
