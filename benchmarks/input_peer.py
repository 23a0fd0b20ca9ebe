"""transformers' masked-LM collator over `datasets`, in each of its settings."""

import shutil
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
import transformers

HAND_WRITTEN = "whole batches"
USUAL = "lists, pt"

torch.set_num_threads(1)
datasets.disable_progress_bars()
transformers.logging.set_verbosity_error()


class Peer:
    """Tokenises `text.jsonl` in a directory with the tokenizer there, and makes batches of it."""

    def __init__(self, scratch: Path, batch_size: int):
        self.scratch, self.batch_size = scratch, batch_size
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(scratch / "tokenizer")
        # Documents are cut later; without this it warns of every long one.
        self.tokenizer.model_max_length = int(1e30)
        self.dataset: Any = None

    def tokenize(self) -> None:
        """As run_mlm.py does before it joins documents."""
        cache = self.scratch / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        text = self._text()
        self.dataset = text.map(self._encode, batched=True, remove_columns=["text"])

    def _text(self) -> Any:
        file = str(self.scratch / "text.jsonl")
        cache = str(self.scratch / "cache")
        return datasets.load_dataset("json", data_files=file, split="train", cache_dir=cache)

    def _encode(self, rows: dict[str, Any]) -> Any:
        return self.tokenizer(rows["text"], return_special_tokens_mask=True)

    @property
    def num_tokens(self) -> int:
        """Tokens of all documents, without special ones."""
        lengths = self.dataset.data.column("input_ids").combine_chunks().value_lengths()
        return int(np.asarray(lengths).sum()) - 2 * len(self.dataset)

    def cache_bytes(self) -> int:
        """The tokenised table alone, without the table of text and those of each length."""
        return sum(Path(file["filename"]).stat().st_size for file in self.dataset.cache_files)

    def contenders(self, length: int, is_packed: bool) -> dict[str, Callable[[], tuple[int, int]]]:
        """For every setting what makes the next batch: (tokens without padding, positions)."""
        rows = self._joined(length) if is_packed else self.cut(length)
        # What a masked LM of single texts needs; the collator makes the attention mask again.
        lean = rows.select_columns(["input_ids", "special_tokens_mask"])
        found = {
            USUAL: self._loaded(rows, "pt", length),
            "torch, pt": self._loaded(rows.with_format("torch"), "pt", length),
            "numpy, np": self._loaded(rows.with_format("numpy"), "np", length),
            "lists, pt, two columns": self._loaded(lean, "pt", length),
            "numpy, np, two columns": self._loaded(lean.with_format("numpy"), "np", length),
        }
        if is_packed:
            found[HAND_WRITTEN] = self._whole(lean.with_format("torch"))
        return found

    def cut(self, length: int) -> Any:
        """Documents, each cut into rows of at most so many tokens."""

        def cut(rows: dict[str, Any]) -> dict[str, Any]:
            found = self.tokenizer(
                rows["text"],
                truncation=True,
                max_length=length,
                return_overflowing_tokens=True,
                return_special_tokens_mask=True,
            )
            return {name: v for name, v in found.items() if name != "overflow_to_sample_mapping"}

        return self._text().map(cut, batched=True, remove_columns=["text"])

    def _joined(self, length: int) -> Any:
        def join(rows: dict[str, Any]) -> dict[str, Any]:
            joined = {name: list(chain.from_iterable(values)) for name, values in rows.items()}
            end = len(joined["input_ids"]) // length * length
            return {
                name: [values[i : i + length] for i in range(0, end, length)]
                for name, values in joined.items()
            }

        return self.dataset.map(join, batched=True)

    def _loaded(self, rows: Any, tensors: str, length: int) -> Callable[[], tuple[int, int]]:
        collate = transformers.DataCollatorForLanguageModeling(
            self.tokenizer, return_tensors=tensors, pad_to_multiple_of=length
        )
        loader = torch.utils.data.DataLoader(
            rows, batch_size=self.batch_size, shuffle=True, collate_fn=collate, drop_last=True
        )
        batches = _forever(loader)

        def make() -> tuple[int, int]:
            batch = next(batches)
            mask = batch["attention_mask"]
            return int(mask.sum()), int(np.prod(mask.shape))

        return make

    def _whole(self, rows: Any) -> Callable[[], tuple[int, int]]:
        collate = transformers.DataCollatorForLanguageModeling(self.tokenizer)
        sampler = torch.utils.data.BatchSampler(
            torch.utils.data.RandomSampler(rows), self.batch_size, drop_last=True
        )
        indices = _forever(sampler)

        def make() -> tuple[int, int]:
            batch = rows[next(indices)]
            ids, _ = collate.torch_mask_tokens(batch["input_ids"], batch["special_tokens_mask"])
            return ids.numel(), ids.numel()

        return make


def _forever(batches: Any) -> Iterator[Any]:
    while True:
        yield from batches
