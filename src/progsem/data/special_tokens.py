"""Tokens that stand for no text. They are the first ones of every vocabulary, in this order, so their ids are 0 to 3.

A document is BEGIN, its text and END, filled up with PADDING, which no prediction counts. No document has UNKNOWN: its
embedding stays as it was drawn, but for weight decay.
"""

SPECIAL_TOKENS = PADDING, UNKNOWN, BEGIN, END = "<pad>", "<unk>", "<bos>", "<eos>"
PADDING_ID, UNKNOWN_ID, BEGIN_ID, END_ID = range(len(SPECIAL_TOKENS))
# As `transformers` calls them in a model's config.
SPECIAL_IDS = {"bos_token_id": BEGIN_ID, "eos_token_id": END_ID, "pad_token_id": PADDING_ID}
