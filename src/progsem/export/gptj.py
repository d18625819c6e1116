"""A checkpoint as GPT-J, the same function of the same weights, for tools that do not know CodeGen.

Both architectures compute attention and MLP side by side from one layer norm and rotate pairs of neighbouring
dimensions of queries and keys. They differ in how they store the projections: GPT-J has three matrices where CodeGen
has one, whose rows are, for each of four groups of heads in turn, those of the group's queries, values and keys.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from torch import Tensor

from progsem.errors import UserError
from progsem.lm.codegen.model import GROUPS
from progsem.storage import manifest
from progsem.storage.files import filling
from progsem.study.pretrained import Files, NoModel, standing_in

_KIND = "codegen"
_SAME = (  # keys of the config that mean the same in both
    *("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner", "rotary_dim", "activation_function"),
    *("resid_pdrop", "embd_pdrop", "attn_pdrop", "layer_norm_epsilon", "initializer_range", "use_cache"),
    *("tie_word_embeddings", "bos_token_id", "eos_token_id", "pad_token_id", "dtype"),
)


def export(checkpoint: Path, folder: Path) -> None:
    """Write the CodeGen in a folder to another one, not there yet or empty, as a GPT-J with its tokenizer.

    Raises `UserError` where there is no CodeGen in `checkpoint`, or its files are not as its manifest says.
    """
    found = _codegen(checkpoint)
    from safetensors import SafetensorError
    from transformers import CodeGenForCausalLM, GenerationConfig, GPTJConfig, GPTJForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model, about = CodeGenForCausalLM.from_pretrained(checkpoint, local_files_only=True, output_loading_info=True)
    except Exception as error:  # a folder may have anything, and the library says so in every way
        raise _refusal(checkpoint, f"whose model cannot be read ({_first_line(error)})") from None
    if about["missing_keys"]:
        raise _refusal(checkpoint, f"whose weights lack {min(about['missing_keys'])}")
    config = GPTJConfig(**{name: value for name in _SAME if (value := getattr(model.config, name, None)) is not None})
    written = GPTJForCausalLM(config).to(model.dtype)
    written.load_state_dict(unfused(model.state_dict()))
    written.generation_config = GenerationConfig.from_dict(model.generation_config.to_dict())
    with filling(folder, lambda new, empty: new.replace(empty)) as new:
        try:
            written.save_pretrained(new)
        except SafetensorError as error:  # how it reports a full disk
            raise OSError(str(error)) from None
        for path in found.tokenizer:
            shutil.copyfile(path, new / path.name)
        for path in new.iterdir():  # safetensors lets nobody else read what it writes
            shutil.copymode(new / "config.json", path)


def unfused(codegen: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a CodeGen by name as those of the GPT-J that computes the same.

    `qkv_proj.weight` (3C, C) becomes `q_proj`, `v_proj` and `k_proj.weight` (C, C); all others have the same name.
    """
    weights = {}
    for name, weight in codegen.items():
        if "qkv_proj" not in name:
            weights[name] = weight
            continue
        groups = weight.unflatten(0, (GROUPS, 3, -1))
        for index, part in enumerate(("q_proj", "v_proj", "k_proj")):
            weights[name.replace("qkv_proj", part)] = groups[:, index].flatten(0, 1)
    return weights


def _codegen(checkpoint: Path) -> Files:
    """The files of a folder with a CodeGen and its tokenizer, each as the manifest there says, if there is one."""
    try:
        found = standing_in(checkpoint)
    except NoModel as problem:
        raise _refusal(checkpoint, str(problem)) from None
    if found.kind != _KIND:
        raise _refusal(checkpoint, f"which has a {found.kind} model")
    if (checkpoint / manifest.NAME).exists():
        manifest.verify([*found.config, *found.weights, *found.tokenizer])
    return found


def _refusal(checkpoint: Path, problem: str) -> UserError:
    return UserError(
        f"given {str(checkpoint)!r}, {problem}; expected a folder with a CodeGen and its tokenizer, "
        "such as results/lm/NAME/seed-0/step-000600"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
