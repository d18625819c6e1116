"""Names that the config, the stages and the tables share, each said once.

Results hold some of them by their place in the list (`SPLITS` and `SOURCES`) and others as text, so new names go to
the end and none is renamed. This module is in no digest of code: a new name leaves earlier results as they are.
What a language alone knows (actions, conditions, features) is said in its folder.
"""

SPLITS = ("train", "validation", "test")
TRAIN, VALIDATION, TEST = range(len(SPLITS))

CODEGEN = "codegen"  # the architecture that is computed by code of ours; all others are those of `transformers`

# What a language model may be warmed up on (`progsem.warmup.tasks`), and what it leaves to the one that is studied.
NO_WARMUP = "none"
WARMUP_TASKS = ("identity", "reverse", "sort", "set", "union", "stack", "dyck", "dyck_shuffle", "noise")
ATTENTION, MLP, NORMS = TRANSFERRED = ("attention", "mlp", "norms")

# Where hidden states come from: programs that the model writes, and fixed ones that are fed to it.
GENERATED, FORCED = SOURCES = ("generated", "forced")
PROGRAMS = {GENERATED: "generated", FORCED: "reference"}  # the column of programs.arrow that holds these programs

LINEAR = "linear"
DEPTHS = {LINEAR: 0, "mlp1": 1, "mlp2": 2}  # hidden layers of a probe, shallowest first
ORIGINAL = "original"  # the semantics in which every statement means itself
PERMUTATION = "perm-"  # how names of permutations of the meanings begin, which are drawn and not listed

MEAN = "mean"  # over the embedding and all layers, or over the features
LAYER = "layer_"  # and its number, 0 for the embedding
LAST = "last"  # the layer with the highest number

SHUFFLED, DESCRIPTION_LENGTH, LAYERS = "shuffled", "description_length", "layers"
CONTROLS = (
    "counts",
    "prefix",
    "start",
    "text",
    "embedding",
    LAYERS,
    SHUFFLED,
    DESCRIPTION_LENGTH,
)

FULL, WEIGHTS, PATTERN, MEANS, LEARNED, SET = EDITS = ("full", "weights", "pattern", "means", "learned", "set")
EDIT_SOURCES = ("target", "donor")  # whose residual stream an edit takes from
NO_CONTROL, RANDOM, *_ = EDIT_CONTROLS = ("none", "random", "layer", "position", "shuffled")
UNEDITED, BEHIND_TARGET = "none", "target"  # in place of an edit

TRANSCODER, AUTOENCODER = DICTIONARIES = ("transcoder", "autoencoder")  # of sparse features
NEURONS, PROBE = "neurons", "probe"  # what they are compared with

# Ways to propose programs, without a language model and with one.
PLAIN_WRITERS = ("uniform", "corpus", "unigram", "bigram", "enumeration")
DECODERS = GREEDY, TEMPERATURE, TOP_P, BEAM = ("greedy", "temperature", "top_p", "beam")
PRETRAINED = "pretrained"  # in the place of a language model's seed: the one of `lm.pretrained`, fine-tuned

METRICS = ("step", "tokens", "programs", "loss", "learning_rate", "gradient_norm")  # columns of metrics.csv
# Tables in which variants of a study are compared.
COMPARED = ("checkpoints", "milestones", "probes", "alternatives", "edits")
