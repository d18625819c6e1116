"""Both encodings: ids, text, the tokenizer that `AutoTokenizer` loads."""

import re

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from progsem.data.special_tokens import PADDING_ID
from progsem.data.tokens import save_tokenizer
from progsem.languages.karel.codes import ACTIONS, CONDITIONS, MAX_MARKERS, PAD, WALL
from progsem.languages.karel.execution import WorldStates
from progsem.languages.karel.sampling import Sampler
from progsem.languages.karel.syntax import decode, unparse
from progsem.languages.karel.text import CELLS, ENCODINGS, glyphs
from progsem.study.bounds import most_tokens
from progsem.study.config import load

TOKENIZERS = {name: encoding().tokenizer() for name, encoding in ENCODINGS.items()}


def sampled(control_flow: float, count: int = 200):
    """Programs (N, L), cells (N, 4, 3, 5), poses (N, 4, 3)."""
    study = load(
        {
            "worlds": {"height": 3, "width": 5, "wall_probability": 0.2, "marker_probability": 0.3},
            "programs": {"train_length": [1, 6], "test_length": [1, 6], "control_flow": control_flow},
            "corpus": {"seed": 3, "examples": 2, "held_out": 2},
        }
    )
    sampler = Sampler(study.worlds, study.programs, study.corpus, 0, (1, 6))
    drawn = sampler.allocate(count)
    sampler.draw(0, np.zeros(count, np.int64), np.arange(count), drawn)
    cells, poses = drawn.worlds
    cells[cells == 1] = np.random.default_rng(0).choice([*range(1, 12), MAX_MARKERS], (cells == 1).sum())
    return drawn.programs, cells, poses


def glyphs_of_both(cells: np.ndarray, poses: np.ndarray) -> list[np.ndarray]:
    """Glyphs of the first two worlds and of the other two."""
    worlds = WorldStates(cells, poses)
    return [glyphs(worlds.at(np.s_[:, which])) for which in (slice(2), slice(2, None))]


def source(program: np.ndarray) -> str:
    return unparse(decode([int(code) for code in program if code != PAD]))


def grid(cells: np.ndarray, pose: np.ndarray) -> str:
    """The plain way: row by row, glyph by glyph."""
    words = []
    for row in range(cells.shape[0]):
        for column in range(cells.shape[1]):
            cell = cells[row, column]
            glyph = "#" if cell == WALL else "." if cell == 0 else str(min(cell, 9))
            words.append("^>v<"[pose[2]] if (row, column) == (pose[0], pose[1]) else glyph)
    return " ".join(words)


def documents(encoding, control_flow):
    """(ids, text) of every sampled document; worlds 0 and 1 are inputs, 2 and 3 their outputs."""
    programs, cells, poses = sampled(control_flow)
    prompts = encoding.prompts(*glyphs_of_both(cells, poses))
    spelled, lengths, _, _ = encoding.spell(programs)
    for row in range(len(programs)):
        worlds = " ".join(grid(cells[row, k], poses[row, k]) for k in (0, 2, 1, 3))
        ids = [*prompts[row].tolist(), *spelled[row, : lengths[row]].tolist()]
        yield ids, f"Examples: {worlds} Code: {source(programs[row])}"


@pytest.mark.parametrize("control_flow", [0.0, 0.5])
@pytest.mark.parametrize("name", ENCODINGS)
def test_text_and_ids_round_trip(name, control_flow):
    encoding = ENCODINGS[name]()
    tokenizer = encoding.tokenizer()
    for ids, text in documents(encoding, control_flow):
        assert tokenizer.encode(text).ids == ids
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("name", ENCODINGS)
def test_documents_begin_and_end(name):
    """As text, and as the rows of a table whose programs differ in length."""
    encoding = ENCODINGS[name]()
    programs, cells, poses = sampled(0.5)
    prompts = encoding.prompts(*glyphs_of_both(cells, poses))
    ids, lengths = encoding.documents(prompts, programs)
    written = encoding.tokenizer()
    for row, (expected, text) in enumerate(documents(encoding, 0.5)):
        document = ids[row, : lengths[row]].tolist()
        assert document == [*expected, encoding.ids["<eos>"]] == written.encode(f"{text}<eos>").ids
        assert (ids[row, lengths[row] :] == PADDING_ID).all()


@pytest.mark.parametrize("name", ENCODINGS)
def test_special_tokens_come_first_and_each_word_once(name):
    vocabulary = ENCODINGS[name]().vocabulary
    assert vocabulary[:4] == ["<pad>", "<unk>", "<bos>", "<eos>"]
    assert len(set(vocabulary)) == len(vocabulary) <= 256  # ids are bytes


# Text that no document has, each with its tokens in both encodings; ? is `<unk>`, _ a space.
STRANGE = {
    "Examples: # . X ^ o v": ("Examples: # . ? ^ ? v", "Examples : _ # _ . _ ? _ ^ _ ? _ v"),
    "mvoe(); move()": ("? ? ? move()", "? ( ) ; _ move ( )"),
    "moves()": ("? ? ?", "? ( )"),
    "remove()": ("? ? ?", "? ( )"),
    "repeat (20) {": ("repeat ? ? {", "repeat _ ( ? ) _ {"),
    "repeat (3x) {": ("repeat ? ? ? {", "repeat _ ( ? ) _ {"),
    "if (move()) {": ("if move() ? {", "if _ ( move ( ) ) _ {"),
    "move(); }": ("move() ? }", "move ( ) ; _ }"),
    "# \t.\n.": ("# . .", "# _ ? . ? ."),
    "12 .": ("? .", "12 _ ."),
    "Ä Äv €": ("? ? ?", "? _ ? _ ?"),
    "": ("", ""),
}


@pytest.mark.parametrize("text", STRANGE)
def test_unknown_text_is_unknown(text):
    for name, expected in zip(("compact", "spaced"), STRANGE[text], strict=True):
        tokens = ENCODINGS[name]().tokenizer().encode(text).tokens
        assert [{"<unk>": "?", " ": "_"}.get(token, token) for token in tokens] == ["<bos>", *expected.split()]


PIECES = [*" #.19^v(){};\n\tXo", "0", "Examples:", "Code: def run() {", *ACTIONS, *CONDITIONS, "()", "repeat (2) {"]
PIECES += ["if (", "ifelse (", "while (", "not ", "else", " } ", "; ", "(12)", "é"]


@pytest.mark.parametrize("name", ENCODINGS)
@given(text=st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@example(text="if (not front_is_clear()) { move() }; repeat(19){turn_left() }")
def test_what_has_no_unknown_token_is_read_whole(name, text):
    """Its ids say the text again: all of it in the spaced encoding, else all but what compact tokens imply."""
    written = TOKENIZERS[name]
    encoded = written.encode(text)
    if "<unk>" in encoded.tokens:
        return

    def essence(text: str) -> str:
        return text if name == "spaced" else re.sub(r"[\s;]|(?<=if|le)\(|\)(?=\{)", "", re.sub(r"\s", "", text))

    assert essence(written.decode(encoded.ids)) == essence(text)


@pytest.mark.parametrize("name", ENCODINGS)
def test_auto_tokenizer_loads_it(name, tmp_path):
    from transformers import AutoTokenizer

    encoding = ENCODINGS[name]()
    save_tokenizer(encoding, tmp_path / "tokenizer.json", tmp_path / "tokenizer_config.json")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    special = tokenizer.pad_token, tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token
    assert tuple(tokenizer.convert_tokens_to_ids(special)) == (0, 1, 2, 3)
    assert len(tokenizer) == len(encoding.vocabulary)  # no token without an embedding
    for ids, text in list(documents(encoding, 0.5))[:20]:
        assert dict(tokenizer(text)) == {"input_ids": ids, "attention_mask": [1] * len(ids)}
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    batch = tokenizer([text for _, text in list(documents(encoding, 0.0))[:4]], padding=True)
    assert len({len(ids) for ids in batch["input_ids"]}) == 1
    assert {ids[-1] for ids in batch["input_ids"]} == {encoding.ids["}"]}  # padded on the left


@pytest.mark.parametrize("control_flow", [0.0, 0.5])
@pytest.mark.parametrize("name", ENCODINGS)
def test_no_document_is_longer_than_the_config_reckons(name, control_flow):
    study = load(
        {
            "worlds": {"height": 3, "width": 5},
            "programs": {"train_length": [1, 6], "test_length": [1, 6], "control_flow": control_flow},
            "corpus": {"examples": 2},
            "tokens": {"encoding": name},
            "traces": {"extra_statements": 0},
        }
    )
    longest = max(len(ids) for ids, _ in documents(ENCODINGS[name](), control_flow))
    assert longest <= most_tokens(study) <= longest + 16 + (1500 if control_flow else 0)


def test_compact_spends_one_token_a_cell_and_a_statement():
    encoding = ENCODINGS["compact"]()
    programs, cells, poses = sampled(0.0)
    prompts = encoding.prompts(*glyphs_of_both(cells, poses))
    assert prompts.shape[1] == 4 * 15 + 3
    _, lengths, decided, ends = encoding.spell(programs)
    statements = (programs != PAD).sum(axis=1)
    np.testing.assert_array_equal(lengths, statements + 1)
    for row, count in enumerate(statements):
        np.testing.assert_array_equal(decided[row, :count], np.arange(count))
        np.testing.assert_array_equal(ends[row, :count], np.arange(count))


def test_spaced_marks_the_name_of_each_statement():
    encoding = ENCODINGS["spaced"]()
    programs, _, _ = sampled(0.5)
    ids, _, decided, ends = encoding.spell(programs)
    words = np.array(encoding.vocabulary)
    for row, program in enumerate(programs):
        for position, code in enumerate(program):
            if code < len(ACTIONS):
                assert words[ids[row, decided[row, position]]] == ACTIONS[code]
                assert words[ids[row, ends[row, position]]] == ")"


def test_glyphs_of_a_world_drawn_by_hand():
    cells = np.array([[[[0, 1, WALL], [9, 0, 3]]]], np.uint8)
    poses = np.array([[[1, 2, 3]]], np.uint8)  # west, on a cell with three markers, which it hides
    assert [CELLS[index] for index in glyphs(WorldStates(cells, poses))[0, 0]] == [".", "1", "#", "9", ".", "<"]
