"""A checkpoint's folder as users of `transformers` open it: tokenizer, model, pipeline and `generate`."""

import numpy as np
import pytest
import torch
from checkpoints import Checkpoint

from progsem.languages.karel.text import ENCODINGS


@pytest.fixture(scope="module", params=ENCODINGS)
def checkpoint(request, tmp_path_factory) -> Checkpoint:
    return Checkpoint(tmp_path_factory.mktemp(request.param), request.param)


@pytest.fixture(scope="module")
def opened(checkpoint):
    """Tokenizer and model of the checkpoint's folder, and nothing else."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return (
        AutoTokenizer.from_pretrained(checkpoint.folder),
        AutoModelForCausalLM.from_pretrained(checkpoint.folder).eval(),
    )


def test_the_same_logits_from_text(checkpoint, opened):
    tokenizer, model = opened
    for ids in checkpoint.documents:
        inputs = tokenizer(tokenizer.decode(ids[1:]), return_tensors="pt")
        assert inputs["input_ids"][0].tolist() == ids
        with torch.inference_mode():
            torch.testing.assert_close(model(**inputs).logits[0], checkpoint.logits(ids), rtol=1e-4, atol=1e-4)


def test_a_batch_of_texts_gives_what_each_gives_alone(checkpoint, opened):
    """Shorter ones are padded on the left."""
    tokenizer, model = opened
    documents = sorted(checkpoint.documents, key=len)
    documents = [documents[0], documents[-1]]
    assert len(documents[0]) < len(documents[1])
    texts = [tokenizer.decode(ids[1:]) for ids in documents]
    inputs = tokenizer(texts, return_tensors="pt", padding=True)
    positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        logits = model(**inputs, position_ids=positions).logits
    for ids, row in zip(documents, logits, strict=True):
        torch.testing.assert_close(row[-len(ids) :], checkpoint.logits(ids), rtol=1e-4, atol=1e-4)


def test_generate_stops_by_itself(checkpoint, opened):
    tokenizer, model = opened
    # Prompts of two lengths: one has its first statement already.
    begun = [checkpoint.prompts[0], checkpoint.documents[1][: len(checkpoint.prompts[1]) + 1]]
    inputs = tokenizer([tokenizer.decode(ids[1:]) for ids in begun], return_tensors="pt", padding=True)
    written = model.generate(**inputs)
    for ids, row in zip(begun, written.tolist(), strict=True):
        expected = checkpoint.continued(ids)
        assert expected[-1] == checkpoint.encoding.ids["<eos>"]
        padding = checkpoint.encoding.ids["<pad>"]
        assert [token for token in row if token != padding] == expected


def test_generate_with_stop_strings(checkpoint, opened):
    tokenizer, model = opened
    inputs = tokenizer(tokenizer.decode(checkpoint.prompts[0][1:]), return_tensors="pt")
    (row,) = model.generate(**inputs, stop_strings=["}"], tokenizer=tokenizer).tolist()
    expected = checkpoint.continued(checkpoint.prompts[0])
    assert row == expected[: expected.index(checkpoint.encoding.ids["}"]) + 1]


def test_pipeline(checkpoint):
    from transformers import pipeline

    write = pipeline("text-generation", model=str(checkpoint.folder), device="cpu")
    tokenizer = write.tokenizer
    for ids in checkpoint.prompts[:3]:
        text = tokenizer.decode(ids[1:])
        (answer,) = write(text)
        assert answer["generated_text"] == tokenizer.decode(checkpoint.continued(ids), skip_special_tokens=True)
        assert answer["generated_text"].startswith(text) and answer["generated_text"].endswith("}")


def test_special_tokens_have_weights(checkpoint):
    """All are drawn, and the end token is learned: it follows the closing brace, and nothing else does."""
    embeddings = checkpoint.model.transformer["wte"].weight.detach().numpy()
    assert len(embeddings) == len(checkpoint.encoding.vocabulary)
    assert (np.abs(embeddings[:4]).max(axis=1) > 0.01).all()
    for ids in checkpoint.documents:
        assert int(checkpoint.logits(ids)[-2].argmax()) == checkpoint.encoding.ids["<eos>"]
