"""ImageReward against transformers' BLIP blocks, on random models of different shapes."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from image_reward_reference import ImageReward, bert_tokenizer, write_bert_vocabulary, write_config
from score_command import PROMPTS, pictures, randomise, refusal, relative_error, scores, write_samples

SHAPES = {
    "small": dict(vision=dict(hidden_size=64, intermediate_size=128, num_hidden_layers=3, num_attention_heads=4, image_size=48, patch_size=16),
                  text=dict(hidden_size=48, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, vocab_size=1502,
                            max_position_embeddings=64),
                  head=[40, 24, 16, 8, 1], tokens=1500),
    "one layer, odd patches": dict(
        vision=dict(hidden_size=36, intermediate_size=50, num_hidden_layers=1, num_attention_heads=3, image_size=35, patch_size=7),
        text=dict(hidden_size=40, intermediate_size=60, num_hidden_layers=1, num_attention_heads=1, vocab_size=1600, max_position_embeddings=35),
        head=[7, 5, 9, 3, 1], tokens=1300),
    "text wider than picture": dict(
        vision=dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=8, image_size=64, patch_size=8),
        text=dict(hidden_size=96, intermediate_size=64, num_hidden_layers=4, num_attention_heads=6, vocab_size=1402, max_position_embeddings=512),
        head=[16, 16, 16, 16, 1], tokens=1400),
}


def make(folder, shape, seed=6):
    torch.manual_seed(seed)
    model = randomise(ImageReward(shape), seed)
    write_config(model, folder)
    save_file({name: tensor.contiguous().clone() for name, tensor in model.original_keys().items()}, folder / "model.safetensors")
    write_bert_vocabulary(folder, PROMPTS * 3, shape["tokens"])
    return model


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return write_samples(tmp_path_factory.mktemp("samples"))


@pytest.mark.parametrize("name", SHAPES)
def test_rewards_equal_the_reference(name, samples, tmp_path):
    model = make(tmp_path / "model", SHAPES[name])
    ours = scores(samples, tmp_path, f"blip-reward={tmp_path}/model")["blip-reward"]
    theirs = model.rewards(pictures(samples), PROMPTS, bert_tokenizer(tmp_path / "model"))
    error = relative_error(ours, theirs)
    print(f"relative error {error:.1e}; rewards {min(theirs):.3f} to {max(theirs):.3f}")
    assert error < 1e-5
    assert max(theirs) - min(theirs) > 1e3 * 1e-5 * max(map(abs, theirs))  # else the comparison would be of constants


def test_padding_and_company_do_not_matter(samples, tmp_path):
    model = make(tmp_path / "model", SHAPES["small"])
    tokenizer = bert_tokenizer(tmp_path / "model")
    short = PROMPTS[2]
    unpadded = model.rewards(pictures(samples)[:1], [short], tokenizer, len(tokenizer(short).input_ids))
    assert unpadded == pytest.approx(model.rewards(pictures(samples)[:1], [short], tokenizer), rel=1e-5)
    a = scores(samples, tmp_path, f"blip-reward={tmp_path}/model", extra=("--batch", "8"))["blip-reward"]
    b = scores(samples, tmp_path, f"blip-reward={tmp_path}/model", extra=("--batch", "5"))["blip-reward"]
    assert a == pytest.approx(b, rel=1e-5, abs=1e-6)


def test_preprocessor_and_tokenizer_folders_of_their_own(samples, tmp_path):
    model = make(tmp_path / "model", SHAPES["small"])
    (tmp_path / "model" / "vocab.txt").rename(tmp_path / "vocab.txt")
    ours = scores(samples, tmp_path, f"blip-reward={tmp_path}/model,tokenizer={tmp_path},name=reward")["reward"]
    assert relative_error(ours, model.rewards(pictures(samples), PROMPTS, bert_tokenizer(tmp_path))) < 1e-5


def test_the_pinned_name_refuses_another_shape(samples, tmp_path):
    make(tmp_path / "model", SHAPES["small"])
    message = refusal(samples, tmp_path, f"imagereward={tmp_path}/model")
    assert "scorer imagereward" in message and "config.json" in message
    assert "vision_config.hidden_size is 64, not 1024" in message and "text_config.hidden_size is 48, not 768" in message
    assert "head_sizes is 40, 24, 16, 8, 1, not 1024, 128, 64, 16, 1" in message and "reward_mean" not in message


@pytest.mark.parametrize("changes, named", [
    (dict(model_type="blip"), "model_type"),
    (dict(head_sizes=[40, 24, 16, 8]), "head_sizes"),
    (dict(head_sizes=[40, 24, 16, 8, 2]), "head_sizes"),
    (dict(reward_std=0), "reward_std"),
    (dict(max_text_length=65), "max_text_length"),
    (dict(head_activation="relu"), "head_activation"),
])
def test_bad_configurations_name_the_key(changes, named, samples, tmp_path):
    model = make(tmp_path / "model", SHAPES["small"])
    write_config(model, tmp_path / "model", **changes)
    message = refusal(samples, tmp_path, f"blip-reward={tmp_path}/model")
    assert "scorer blip-reward" in message and "config.json" in message and named in message


def change_tensors(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


@pytest.mark.parametrize("change, named", [
    (lambda t: t.pop("mlp.layers.7.bias"), "mlp.layers.7.bias"),
    (lambda t: t.pop("blip.visual_encoder.blocks.1.attn.qkv.weight"), "layers.1.self_attn.q_proj.weight"),
    (lambda t: t.update({"blip.visual_encoder.blocks.0.attn.qkv.bias": torch.zeros(64 * 3 + 1)}), "blocks.0.attn.qkv.bias"),
    (lambda t: t.update({"blip.text_encoder.encoder.layer.0.crossattention.self.key.weight": torch.zeros(48, 48)}),
     "crossattention.self.key.weight"),
    (lambda t: t.update({"blip.vision_proj.weight": torch.zeros(3)}), "surplus tensor blip.vision_proj.weight"),
])
def test_wrong_tensors_are_named(change, named, samples, tmp_path):
    make(tmp_path / "model", SHAPES["small"])
    change_tensors(tmp_path / "model", change)
    message = refusal(samples, tmp_path, f"blip-reward={tmp_path}/model")
    assert f"scorer blip-reward: {tmp_path}/model" in message and named in message


def test_torn_file_and_missing_vocabulary_name_the_file(samples, tmp_path):
    make(tmp_path / "model", SHAPES["small"])
    weights = tmp_path / "model" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    message = refusal(samples, tmp_path, f"blip-reward={tmp_path}/model")
    assert "scorer blip-reward" in message and "model.safetensors" in message
    weights.write_bytes(whole)
    (tmp_path / "model" / "vocab.txt").unlink()
    assert "vocab.txt" in refusal(samples, tmp_path, f"blip-reward={tmp_path}/model")


def test_larger_vocabulary_than_the_model_embeds(samples, tmp_path):
    make(tmp_path / "model", SHAPES["small"])
    write_bert_vocabulary(tmp_path / "model", PROMPTS, 1501)
    message = refusal(samples, tmp_path, f"blip-reward={tmp_path}/model")
    assert "vocab.txt" in message and "1503" in message


def test_a_score_that_is_not_a_number_names_scorer_sample_and_prompt(samples, tmp_path):
    make(tmp_path / "model", SHAPES["small"])
    token = bert_tokenizer(tmp_path / "model")("青")["input_ids"][1]
    change_tensors(tmp_path / "model", lambda t: t["blip.text_encoder.embeddings.word_embeddings.weight"][token].fill_(float("nan")))
    message = refusal(samples, tmp_path, f"blip-reward={tmp_path}/model")
    assert "scorer blip-reward" in message and "samples.jsonl:5" in message and json.loads('"\\u9752"') in message
