"""`transformers` with a tiny model that is made here: configuration, tokenizer, generation settings and
weights, in one file and in several, pushed and loaded by the library's own functions.

Without PyTorch, whose package is some gigabytes: the weights are NumPy arrays in safetensors files, found
and downloaded by the functions with which the library's `from_pretrained` does it."""

import numpy
from huggingface_hub import HfApi, get_safetensors_metadata
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoTokenizer, BertConfig, GenerationConfig, PreTrainedTokenizerFast
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file
from transformers.utils.hub import get_checkpoint_shard_files, has_file

from prelude import *

api, way = HfApi(), "xet" if XET else "lfs"
repo = f"admin/tiny-{way}"
sentence = "the quick brown fox jumps over the lazy dog"

# Pushed by the library, piece by piece.
words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
words.train_from_iterator([sentence] * 3, trainers.WordLevelTrainer(special_tokens=["[UNK]", "[PAD]"]))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
config = BertConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
config.push_to_hub(repo, private=True)
tokenizer.push_to_hub(repo)
GenerationConfig(max_new_tokens=7).push_to_hub(repo)
before = api.model_info(repo).sha

# And loaded again, as anybody would.
found = AutoConfig.from_pretrained(repo)
equal((type(found), found.hidden_size, found.vocab_size), (BertConfig, 16, len(tokenizer)))
again = AutoTokenizer.from_pretrained(repo)
equal(again(sentence).input_ids, tokenizer(sentence).input_ids)
equal(GenerationConfig.from_pretrained(repo).max_new_tokens, 7)
with refused(OSError, says="admin/none"):
    AutoConfig.from_pretrained("admin/none")
with refused(OSError):
    AutoConfig.from_pretrained(repo, token=False, force_download=True)
with refused(OSError, says="v9"):
    AutoConfig.from_pretrained(repo, revision="v9")

# The weights of a model of one layer, and what it says.
generator = numpy.random.default_rng(7)
weights = {
    "embedding.weight": generator.standard_normal((len(tokenizer), 16), dtype=numpy.float32),
    "head.weight": generator.standard_normal((len(tokenizer), 16), dtype=numpy.float32),
    "filler.weight": generator.standard_normal((500, 1000), dtype=numpy.float32),
}


def forward(weights, ids):
    hidden = weights["embedding.weight"][ids].mean(axis=0)
    return weights["head.weight"] @ hidden


expected = forward(weights, tokenizer(sentence).input_ids)
folder = pathlib.Path("weights")
folder.mkdir()
save_file(weights, folder / SAFE_WEIGHTS_NAME, metadata={"format": "pt"})
api.upload_folder(repo_id=repo, folder_path=folder)
path = cached_file(repo, SAFE_WEIGHTS_NAME)
ids = AutoTokenizer.from_pretrained(repo)(sentence).input_ids
assert numpy.array_equal(forward(load_file(path), ids), expected)
metadata = get_safetensors_metadata(repo)
equal(metadata.parameter_count, {"F32": sum(array.size for array in weights.values())})
told = api.model_info(repo).safetensors
equal((told.parameters, told.total), (metadata.parameter_count, sum(metadata.parameter_count.values())))
with safe_open(path, framework="numpy") as file:
    equal(file.get_slice("filler.weight").get_shape(), [500, 1000])

# The same in several files with an index, on a branch.
sharded = pathlib.Path("sharded")
sharded.mkdir()
index = {"metadata": {"total_size": sum(array.nbytes for array in weights.values())}, "weight_map": {}}
for number, (name, array) in enumerate(weights.items(), 1):
    file = f"model-{number:05}-of-{len(weights):05}.safetensors"
    save_file({name: array}, sharded / file, metadata={"format": "pt"})
    index["weight_map"][name] = file
(sharded / SAFE_WEIGHTS_INDEX_NAME).write_text(json.dumps(index))
api.create_branch(repo, branch="sharded", revision=before)
api.upload_folder(repo_id=repo, folder_path=sharded, revision="sharded")
assert not has_file(repo, SAFE_WEIGHTS_NAME, revision="sharded") and has_file(repo, SAFE_WEIGHTS_INDEX_NAME, revision="sharded")
equal(cached_file(repo, SAFE_WEIGHTS_NAME, revision="sharded", _raise_exceptions_for_missing_entries=False), None)
index_path = cached_file(repo, SAFE_WEIGHTS_INDEX_NAME, revision="sharded")
files, _ = get_checkpoint_shard_files(repo, index_path, revision="sharded")
merged = {name: array for file in files for name, array in load_file(file).items()}
assert numpy.array_equal(forward(merged, ids), expected)
equal(AutoConfig.from_pretrained(repo, revision="sharded").hidden_size, 16)

# A proposal, and the whole thing once more from a folder and without a network.
config.hidden_size = 32
config.push_to_hub(repo, create_pr=True)
equal(AutoConfig.from_pretrained(repo, revision="refs/pr/1").hidden_size, 32)
equal(AutoConfig.from_pretrained(repo, local_files_only=True).hidden_size, 16)
again.save_pretrained("mine", push_to_hub=True, repo_id=f"{repo}-copy")
equal(AutoTokenizer.from_pretrained(f"{repo}-copy")(sentence).input_ids, ids)
print("all is well")
