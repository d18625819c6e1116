"""Stage `tokens`: the corpus as shards of token ids, and the tokenizer that reads and writes its text."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore

import numpy as np

from progsem.data.encodings import Encoding
from progsem.data.special_tokens import BEGIN, END, PADDING, PADDING_ID, UNKNOWN
from progsem.jobs.job import Job
from progsem.languages import LANGUAGE
from progsem.limits import MAX_POSITIONS
from progsem.storage.files import WRITERS, read_table, replacing, write_json, write_table
from progsem.study.vocabulary import SPLITS


def encode_shard(source: Path, encoding: Encoding) -> tuple[dict[str, np.ndarray], dict]:
    """The documents of one corpus shard as ids (N, T) with their lengths (N,), and what is said about them."""
    columns, metadata = read_table(source)
    shown = np.s_[:, : metadata["examples"]]
    inputs, outputs = (
        LANGUAGE.text.glyphs(LANGUAGE.execution.of_columns(columns, metadata, prefix).at(shown))
        for prefix in ("", "out_")
    )
    prompts = encoding.prompts(inputs, outputs)
    ids, lengths = encoding.documents(prompts, columns["program"])
    return {"tokens": ids, "length": lengths.astype(np.uint16)}, {
        "prompt_length": prompts.shape[1],
        "inputs": encoding.inputs(*inputs.shape[1:], inputs.shape[2] + outputs.shape[2]),
        "pad": PADDING_ID,
        "vocabulary": len(encoding.vocabulary),
    }


def save_tokenizer(encoding: Encoding, path: Path, config_path: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json, which `AutoTokenizer.from_pretrained` reads."""
    with replacing(path) as temporary:
        temporary.write_text(encoding.tokenizer().to_str(pretty=True), encoding="utf-8")
    write_json(
        config_path,
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": PADDING,
            "unk_token": UNKNOWN,
            "bos_token": BEGIN,
            "eos_token": END,
            # Without this, AutoTokenizer gives token types as well, for which CodeGen adds embeddings.
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": MAX_POSITIONS,
            "padding_side": "left",  # programs are written behind the text
            "clean_up_tokenization_spaces": False,
        },
    )


def run(job: Job) -> None:
    """Encode every shard of every split."""
    encoding = LANGUAGE.text.ENCODINGS[job.section("tokens").encoding]()
    pairs = [pair for split in SPLITS for pair in zip(job.inputs[split], job.outputs[split], strict=True)]
    computing = Semaphore(job.threads)

    def shard(source: Path, target: Path) -> None:
        with computing:
            documents, metadata = encode_shard(source, encoding)
        write_table(target, documents, metadata, "tokens")

    with ThreadPoolExecutor(job.threads + WRITERS) as pool:
        list(pool.map(shard, *zip(*pairs, strict=True)))
    save_tokenizer(encoding, job.output("tokenizer"), job.output("tokenizer_config"))
    job.notes["vocabulary"] = len(encoding.vocabulary)
