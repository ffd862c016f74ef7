"""The C++ CLIP tokenizer against transformers' CLIPTokenizer: identical ids."""

import json
import os
import random
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

SOURCE = Path(os.environ["RSIDIFF_SOURCE"])
TOOL = Path(os.environ["RSIDIFF_BIN"]) / "tokenize_text"
SHAPES = SOURCE / "deploy/examples/shapes/base/tokenizer"
PROMPTS = SOURCE / "deploy/examples/prompts"


def public_prompts():
    with open(PROMPTS / "PartiPrompts.tsv", encoding="utf-8") as file:
        yield from (line.split("\t")[0] for line in file.read().splitlines()[1:])
    with open(PROMPTS / "HPD_prompt.csv", encoding="utf-8") as file:
        yield from (line.split(",", 1)[1] for line in file.read().splitlines()[1:] if "," in line)
    yield from (PROMPTS / "hpsv2_photo_eval50.txt").read_text(encoding="utf-8").splitlines()
    yield from (entry["prompt"] for entry in json.loads((PROMPTS / "imagereward_benchmark100.json").read_text()))


def code_points():
    """Every code point, in strings of 64 with letters between."""
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    assigned = [point for point in points if unicodedata.category(chr(point)) not in ("Cn", "Co")]
    newer = list(range(0x1C80, 0x1CC0)) + list(range(0xA7C0, 0xA800)) + list(range(0x10500, 0x11C00))
    newer += list(range(0x13400, 0x14400, 7)) + list(range(0x16100, 0x17000)) + list(range(0x1CC00, 0x1D000))
    newer += list(range(0x1E500, 0x1E700)) + list(range(0x2EBE0, 0x2EE70)) + list(range(0x30000, 0x110000, 997))
    rare = [point for point in assigned if not 0x3400 <= point <= 0xD7A3 and not 0x17000 <= point <= 0x18D00]
    rare = [point for point in rare if not 0x20000 <= point <= 0x323AF] + assigned[::37] + newer
    for begin in range(0, len(rare), 16):
        yield "x".join(chr(point) for point in rare[begin:begin + 16])
        yield "".join(chr(point) for point in rare[begin:begin + 16])


def random_strings(count, seed):
    generator = random.Random(seed)
    words = ["a", "photo", "don't", "we've", "I'LL", "'s", "''", "'S", "1234", "3.14", "naïve", "İstanbul", "ΟΔΟΣ",
             "ſ", "ﬁ", "日本語", "👩‍👩‍👧‍👦", "🏳️‍🌈", "e\u0301", "a\u0316\u0301", "가", "\u1112\u1161\u11ab", "\u2028", "\u00a0", "\u3000",
             "\x00", "\x1c", "\x7f", "\u200d", "\ufeff", "<|startoftext|>", "<|endoftext|>", "<|EndOfText|>", "<|", "|>",
             "½", "²", "Ⅷ", "٣", "!", "!!!", "</w>", "ａｂｃ", "\U0001f600", "\u0345", "\u212b", "\uf900", "\U000e0041"]
    planes = [(0, 0x80), (0x80, 0x250), (0x300, 0x370), (0x370, 0x800), (0x800, 0x2000), (0x2000, 0x3100), (0x3100, 0xD800),
              (0xE000, 0x10000), (0x10000, 0x20000), (0x1F000, 0x1FB00), (0x20000, 0x110000)]
    marks = [chr(point) for point in range(0x300, 0x1E950) if unicodedata.combining(chr(point))]
    for _ in range(count):
        parts = []
        for _ in range(generator.randint(0, 12)):
            kind = generator.random()
            if kind < 0.4:
                parts.append(generator.choice(words))
            elif kind < 0.5:
                parts.append("a" + "".join(generator.choices(marks, k=3)))
            elif kind < 0.6:
                parts.append("".join(generator.choices("abcdefgh' -.,!?0123ABC", k=generator.randint(1, 12))))
            else:
                low, high = generator.choice(planes)
                parts.append("".join(chr(generator.randrange(low, high)) for _ in range(generator.randint(1, 8))))
        yield generator.choice(["", " ", "  ", "\n", "\t "]).join(parts)


def long_texts():
    yield "a" * 10000
    yield "ab" * 5000 + " " + "!" * 10000
    yield "the red circle " * 2000
    yield "é" * 10000
    yield "e" + "\u0301" * 3000
    yield ""
    yield " \n\t "


def strings():
    texts = list(public_prompts()) + list(code_points()) + list(random_strings(8000, 1)) + list(long_texts())
    texts += (SOURCE / "deploy/examples/shapes/prompts/train.txt").read_text(encoding="utf-8").splitlines()
    assert len(texts) > 10000
    return texts


def tokenize(folder, texts):
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    result = subprocess.run([TOOL, "clip", folder], input=lines, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def compare(folder, texts):
    expected = CLIPTokenizer.from_pretrained(folder)
    ours = tokenize(folder, texts)
    assert len(ours) == len(texts)
    raw = expected(texts, add_special_tokens=False).input_ids
    padded = expected(texts, padding="max_length", max_length=77, truncation=True).input_ids
    wrong = [(text, a["raw"], b) for text, a, b in zip(texts, ours, raw) if a["raw"] != b]
    assert not wrong, (len(wrong), wrong[:3])
    wrong = [(text, a["padded"], b) for text, a, b in zip(texts, ours, padded) if a["padded"] != b]
    assert not wrong, (len(wrong), wrong[:3])
    assert [a["truncated"] for a in ours] == [len(ids) > 75 for ids in raw]


def train_vocabulary(folder):
    """A vocabulary of 4,000 tokens from the prompts, "!" first, as CLIP's is; pad token "!" as in SD 2."""
    trained = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=4000, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False)
    trained.train_from_iterator(public_prompts(), trainer)
    model = json.loads(trained.to_str())["model"]
    tokens = sorted(alphabet) + [symbol + "</w>" for symbol in alphabet]
    tokens += [token for token in model["vocab"] if token not in set(tokens)] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")


def test_shapes_vocabulary():
    compare(SHAPES, strings())


def test_trained_vocabulary_with_another_pad_token(tmp_path):
    train_vocabulary(tmp_path)
    end = {"content": "<|endoftext|>", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    special = {"bos_token": {**end, "content": "<|startoftext|>"}, "eos_token": end, "unk_token": end, "pad_token": "!"}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(special))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}))
    compare(tmp_path, strings())


def variant(tmp_path, config, special):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(SHAPES / name, folder / name)
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    if special is not None:
        (folder / "special_tokens_map.json").write_text(json.dumps(special))
    return folder


def token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, **flags}


BASE = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}


@pytest.mark.parametrize("config, special", [
    (None, None),
    (BASE, None),
    (BASE | {"pad_token": "!"}, None),
    (BASE | {"pad_token": {"__type": "AddedToken", **token("!", normalized=True)}}, None),
    (BASE | {"pad_token": "!"}, {"pad_token": "<|endoftext|>"}),
    (BASE, {"bos_token": token("<|startoftext|>", normalized=True), "eos_token": token("<|endoftext|>", normalized=True)}),
    (BASE | {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "!", "unk_token": "<|endoftext|>",
             "added_tokens_decoder": {"0": token("!", special=True), "1498": token("<|startoftext|>", special=True),
                                      "1499": token("<|endoftext|>", normalized=True, special=True)}},
     {"pad_token": "<|endoftext|>"}),
])
def test_special_token_files(tmp_path, config, special):
    compare(variant(tmp_path, config, special), list(random_strings(1500, 2)) + ["hi! you <|EndOfText|> !<|endoftext|>!"])


def test_tokenizer_json_alone(tmp_path):
    CLIPTokenizer.from_pretrained(SHAPES).save_pretrained(tmp_path)
    assert not (tmp_path / "vocab.json").exists()
    compare(tmp_path, list(public_prompts()) + list(random_strings(1500, 3)))


def test_long_word_takes_no_quadratic_time():
    # A million bytes in one word: seconds if the merge queue works, hours if every merge scans the word.
    assert len(tokenize(SHAPES, ["abcdefgh" * 125000])[0]["raw"]) > 1000


@pytest.mark.parametrize("name, contents, message", [
    ("vocab.json", "{", "vocab.json: "),
    ("vocab.json", "[1]", "vocab.json: not a JSON object"),
    ("vocab.json", '{"a": -1}', 'the id of token "a" is not an integer'),
    ("vocab.json", '{"a": 1.5}', 'the id of token "a" is not an integer'),
    ("vocab.json", '{"a": 99999999999}', 'the id of token "a" is not an integer'),
    ("vocab.json", '{"a": 0}', 'the vocabulary has no token "'),
    ("merges.txt", "#version: 0.2\ng r\na b c\n", "merges.txt:3: not two tokens"),
    ("merges.txt", "#version: 0.2\ng r\n\ni n\n", "merges.txt:3: not two tokens"),
    ("merges.txt", "g notthere\n", 'merges.txt:1: the vocabulary has no token "notthere"'),
    ("tokenizer_config.json", '{"pad_token": 3}', "tokenizer_config.json: pad_token: not a token"),
    ("tokenizer_config.json", '{"pad_token": {"content": "x", "lstrip": true}}', "lstrip is not supported"),
    ("tokenizer_config.json", '{"added_tokens_decoder": {"x": "y"}}', "not a token id"),
    ("special_tokens_map.json", '{"pad_token": ""}', "a special token is empty"),
    ("added_tokens.json", "{}", "added_tokens.json: added tokens are not supported"),
])
def test_bad_files_are_refused(tmp_path, name, contents, message):
    folder = variant(tmp_path, None, None)
    (folder / name).write_text(contents)
    result = subprocess.run([TOOL, "clip", folder], input="", capture_output=True, text=True)
    assert result.returncode == 1 and message in result.stderr, result.stderr


def test_missing_file_is_named(tmp_path):
    result = subprocess.run([TOOL, "clip", tmp_path], input="", capture_output=True, text=True)
    assert result.returncode == 1 and str(tmp_path / "vocab.json") in result.stderr
