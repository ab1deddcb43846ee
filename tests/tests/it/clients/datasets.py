"""The `datasets` library: load what others uploaded, push what it made, stream, private and by revision."""

import datasets
import pandas
from datasets import Dataset, DatasetDict, get_dataset_config_names, get_dataset_split_names, load_dataset, load_dataset_builder
from huggingface_hub import HfApi

from prelude import *

api, way = HfApi(), "xet" if XET else "lfs"
datasets.disable_progress_bars()

# Files as people have them.
rows = [{"id": number, "text": f"line {number}", "score": number / 7} for number in range(1000)]
folder = pathlib.Path("plain/data")
folder.mkdir(parents=True)
frame = pandas.DataFrame(rows)
frame[:900].to_csv(folder / "train.csv", index=False)
frame[900:].to_csv(folder / "test.csv", index=False)
plain = f"admin/plain-{way}"
api.create_repo(plain, repo_type="dataset")
api.upload_folder(repo_id=plain, repo_type="dataset", folder_path="plain")
loaded = load_dataset(plain)
equal({name: len(split) for name, split in loaded.items()}, {"train": 900, "test": 100})
equal(loaded["test"][0], rows[900])
equal(get_dataset_split_names(plain), ["train", "test"])
head = api.dataset_info(plain).sha

# What others load is what this commit has: a new one is noticed, the old one can be asked for.
frame[:10].to_csv(folder / "test.csv", index=False)
api.upload_folder(repo_id=plain, repo_type="dataset", folder_path="plain")
equal(len(load_dataset(plain, split="test")), 10)
equal(len(load_dataset(plain, split="test", revision=head)), 100)
equal(next(iter(load_dataset(plain, split="train", streaming=True))), rows[0])
equal([row["id"] for row in load_dataset(plain, split="train", streaming=True).skip(500).take(3)], [500, 501, 502])

# Lines of JSON and Parquet by pattern, and as pandas reads them.
formats = f"admin/formats-{way}"
api.create_repo(formats, repo_type="dataset", private=True)
pathlib.Path("formats").mkdir()
frame.to_json("formats/rows.jsonl", orient="records", lines=True)
frame.to_parquet("formats/rows.parquet")
api.upload_folder(repo_id=formats, repo_type="dataset", folder_path="formats")
for name, files in [("json", "rows.jsonl"), ("parquet", "rows.parquet")]:
    found = load_dataset(formats, data_files=files, split="train")
    equal((len(found), found[77]), (1000, rows[77]))
equal(pandas.read_parquet(f"hf://datasets/{formats}/rows.parquet").shape, (1000, 3))
with refused(Exception):
    load_dataset(formats, data_files="rows.jsonl", token=False, download_mode="force_redownload")

# What the library makes itself: shards, splits, configurations, a card.
made = f"admin/made-{way}"
big = DatasetDict(train=Dataset.from_list(rows), test=Dataset.from_list(rows[:50]))
big.push_to_hub(made, private=True)
equal({name: len(split) for name, split in load_dataset(made).items()}, {"train": 1000, "test": 50})
equal(load_dataset(made, split="train[10:12]")["id"][:], [10, 11])
large = Dataset.from_dict({"bytes": [noise(number, 50_000) for number in range(60)]})
large.push_to_hub(made, config_name="large", num_shards=4, private=True)
equal(sorted(get_dataset_config_names(made)), ["default", "large"])
again = load_dataset(made, "large", split="train")
equal((len(again), again[59]["bytes"]), (60, noise(59, 50_000)))
streamed = list(load_dataset(made, "large", split="train", streaming=True))
equal(streamed[31]["bytes"], noise(31, 50_000))
builder = load_dataset_builder(made, "large")
equal(builder.info.splits["train"].num_examples, 60)
files = api.list_repo_files(made, repo_type="dataset")
equal(len([file for file in files if file.startswith("large/") and file.endswith(".parquet")]), 4)
Dataset.from_list(rows[:5]).push_to_hub(made, split="extra", create_pr=True)
equal(len(load_dataset(made, split="extra", revision="refs/pr/1")), 5)
Dataset.from_list(rows[:7]).push_to_hub(made, split="train")
equal(len(load_dataset(made, split="train")), 7)

# What it is, as people say in the card, is found among the tags.
card = "---\nlicense: mit\ntask_categories: [text-classification]\nlanguage: [de]\n---\n"
api.upload_file(path_or_fileobj=card.encode(), path_in_repo="README.md", repo_id=plain, repo_type="dataset")
tags = api.get_dataset_tags()
ids = {tag["id"] for kind in ("license", "task_categories", "language") for tag in tags[kind]}
assert {"license:mit", "task_categories:text-classification", "language:de"} <= ids, tags
equal([found.id for found in api.list_datasets(filter="task_categories:text-classification", search=plain)], [plain])
print("all is well")
