/* The language model on the page: it reads and writes programs, its hidden states are read by probes and edited. The
   computations are those of lm/codegen, lm/decoding.py, editing/ and probing/. Nothing here knows a programming language:
   what one looks like to the model says `encoding`:

   prompt: {head, glyph, behind, begin} of `Encoding`, all as ids; expansions: by state of the grammar and by code, the ids
   that spell it, null where it may not come; first, next_state, pushes, closes: the grammar, with `illegal` and `nothing`;
   control_flow, max_depth, codes: whether programs may have blocks, how deep, and how many codes they may have;
   statements: how many codes are statements, the first ones. */

/* Tensors by name, {shape, values}, of what `packed` in page.py has written. */
function tensorsIn({tensors, text, signs, characters, half}) {
  const digit = new Uint8Array(128), found = {};
  [...signs].forEach((sign, at) => { digit[sign.charCodeAt(0)] = at; });
  let at = 0;
  for (const [name, shape, units] of tensors) {
    const values = new Float32Array(shape.reduce((all, size) => all * size, 1)), width = values.length / units.length;
    for (let index = 0; index < values.length; index++) {
      let multiple = 0;
      for (const end = at + characters; at < end; at++) multiple = multiple * signs.length + digit[text.charCodeAt(at)];
      values[index] = multiple ? (multiple - half) * units[Math.floor(index / width)] : -Infinity;
    }
    found[name] = {shape, values};
  }
  return found;
}

/* Numbers in [0, 1), the same ones for the same seed (Mulberry32). */
function seeded(seed) {
  return () => {
    seed = seed + 0x6D2B79F5 | 0;
    let mixed = Math.imul(seed ^ seed >>> 15, seed | 1);
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61);
    return ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32;
  };
}

/* ------------------------------------------------------------- the model */

const GROUPS = 4;  // CodeGen stores queries, values and keys in four groups of heads

/* A matrix, row by row, times a vector. */
function product(matrix, vector, bias = null) {
  const width = vector.length, out = new Float32Array(matrix.length / width);
  for (let row = 0, at = 0; row < out.length; row++) {
    let sum = bias ? bias[row] : 0;
    for (let column = 0; column < width; column++, at++) sum += matrix[at] * vector[column];
    out[row] = sum;
  }
  return out;
}

function normalised(vector, weight, bias) {
  let mean = 0, variance = 0;
  for (const value of vector) mean += value / vector.length;
  for (const value of vector) variance += (value - mean) ** 2 / vector.length;
  const factor = 1 / Math.sqrt(variance + 1e-5);
  return vector.map((value, at) => (value - mean) * factor * weight[at] + bias[at]);
}

/* GELU, with the error function to within 1.5e-7 (Abramowitz & Stegun 1964, 7.1.26). */
function gelu(value) {
  const size = Math.abs(value) / Math.SQRT2, t = 1 / (1 + .3275911 * size);
  const rest = t * (.254829592 + t * (-.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429)))) * Math.exp(-size * size);
  return value * (value < 0 ? rest : 2 - rest) / 2;
}

class CodeGen {
  /* shape: {vocabulary, layers, width, heads, rotary}; tensors: Float32Arrays by the names of model.safetensors. */
  constructor(shape, tensors) {
    this.shape = shape;
    this.embedding = tensors["transformer.wte.weight"];
    this.norm = [tensors["transformer.ln_f.weight"], tensors["transformer.ln_f.bias"]];
    this.head = [tensors["lm_head.weight"], tensors["lm_head.bias"]];
    this.blocks = Array.from({length: shape.layers}, (_, layer) => {
      const part = name => tensors[`transformer.h.${layer}.${name}`], both = name => [part(name + ".weight"), part(name + ".bias")];
      return {norm: both("ln_1"), qvk: part("attn.qkv_proj.weight"), out: part("attn.out_proj.weight"), into: both("mlp.fc_in"), from: both("mlp.fc_out")};
    });
  }

  /* A context in which nothing has been read. */
  begin() {
    const none = () => this.blocks.map(() => []);
    return new Context(this, none(), none());
  }
}

/* What a model has read: by block, keys and values of each position, which no later one changes. */
class Context {
  constructor(model, keys, values) {
    Object.assign(this, {model, keys, values});
  }

  copy() {
    const copied = blocks => blocks.map(positions => [...positions]);
    return new Context(this.model, copied(this.keys), copied(this.values));
  }

  /* Read one more token. With an edit {layer, change}, the stream behind block `layer` (from 1) becomes change(stream) at
     this position, and the blocks behind it go on from there. Returns the residual stream behind each block; the hidden
     states as `transformers` counts them: the embedding, each block's output, the last one's after the final norm; and
     the logits of the next token. */
  feed(token, edit = null) {
    const {blocks, embedding, norm, head, shape} = this.model, streams = [];
    const embedded = embedding.slice(token * shape.width, (token + 1) * shape.width);
    let stream = embedded, logits = null;
    blocks.forEach((block, index) => {
      stream = this.through(block, index, stream);
      if (edit?.layer === index + 1) stream = edit.change(stream);
      streams.push(stream);
    });
    const last = normalised(stream, ...norm);
    return {streams, states: [embedded, ...streams.slice(0, -1), last], get logits() { return logits ??= product(head[0], last, head[1]); }};
  }

  /* The stream behind a block: attention and MLP side by side, from one norm. */
  through(block, index, stream) {
    const normed = normalised(stream, ...block.norm);
    const attended = product(block.out, this.attend(index, product(block.qvk, normed)));
    const fed = product(block.from[0], product(block.into[0], normed, block.into[1]).map(gelu), block.from[1]);
    return stream.map((value, at) => value + attended[at] + fed[at]);
  }

  attend(index, qvk) {
    const {width, heads} = this.model.shape, size = width / heads, inGroup = width / GROUPS;
    // In each group first the queries of all its heads, then their values, then their keys.
    const part = which => {
      const found = new Float32Array(width);
      for (let group = 0; group < GROUPS; group++) found.set(qvk.subarray((3 * group + which) * inGroup, (3 * group + which + 1) * inGroup), group * inGroup);
      return found;
    };
    const keys = this.keys[index], values = this.values[index], position = keys.length;
    const query = this.turned(part(0), position), out = new Float32Array(width), weights = new Float64Array(position + 1);
    values.push(part(1));
    keys.push(this.turned(part(2), position));
    for (let from = 0; from < width; from += size) {
      let most = -Infinity, total = 0;
      for (let at = 0; at <= position; at++) {
        const key = keys[at];
        let sum = 0;
        for (let unit = from; unit < from + size; unit++) sum += query[unit] * key[unit];
        weights[at] = sum / Math.sqrt(size);
        most = Math.max(most, weights[at]);
      }
      for (let at = 0; at <= position; at++) total += weights[at] = Math.exp(weights[at] - most);
      for (let at = 0; at <= position; at++) {
        const weight = weights[at] / total, value = values[at];
        for (let unit = from; unit < from + size; unit++) out[unit] += weight * value[unit];
      }
    }
    return out;
  }

  /* Queries or keys, turned in place by their position: the first `rotary` units of each head, in neighbouring pairs. */
  turned(vector, position) {
    const {width, heads, rotary} = this.model.shape;
    for (let unit = 0; unit < rotary; unit += 2) {
      const angle = position * 10_000 ** (-unit / rotary), cosine = Math.cos(angle), sine = Math.sin(angle);
      for (let at = unit; at < width; at += width / heads) {
        const [x, y] = [vector[at], vector[at + 1]];
        vector[at] = x * cosine - y * sine;
        vector[at + 1] = x * sine + y * cosine;
      }
    }
    return vector;
  }
}

/* One hidden state of those that `feed` returns: "mean" over all of them, or "layer_0", the embedding, "layer_1", … */
function stateOf(states, layer) {
  if (layer !== "mean") return states[Number(layer.replace("layer_", ""))];
  return states[0].map((_, at) => states.reduce((sum, state) => sum + state[at], 0) / states.length);
}

/* ----------------------------------------------------------- the grammar */

/* Where a program stands in the grammar: read code by code, or token by token. */
class Pushdown {
  constructor(encoding) {
    Object.assign(this, {encoding, state: encoding.first, open: [], codes: [], path: [], ended: false});
  }

  copy() {
    return Object.assign(new Pushdown(this.encoding), this, {open: [...this.open], codes: [...this.codes], path: [...this.path]});
  }

  /* Whether the program is neither ended nor as long as it may be. Where it is that long, it is cut: its end would be one
     code too many. */
  get going() {
    return !this.ended && this.codes.length < this.encoding.codes;
  }

  /* Codes that may come next. */
  legal() {
    if (this.ended) return [];
    const {next_state: next, pushes, illegal, nothing, control_flow: blocks, max_depth: deepest} = this.encoding;
    const mayOpen = blocks && this.open.length < deepest;
    return [...next[this.state].keys()].filter(code => next[this.state][code] !== illegal && (mayOpen || pushes[code] === nothing));
  }

  /* Tokens that may come next, in order. */
  tokens() {
    const {expansions} = this.encoding, place = this.path.length;
    const spelled = this.legal().map(code => expansions[this.state][code]).filter(ids => this.begins(ids));
    return [...new Set(spelled.map(ids => ids[place]))].sort((one, other) => one - other);
  }

  /* The code that a token settles on: the only one that is spelled so, where others were possible before it. */
  decided(token) {
    const spelled = this.encoding.expansions[this.state], place = this.path.length;
    const before = [...spelled.keys()].filter(code => spelled[code] && this.begins(spelled[code]));
    const behind = before.filter(code => spelled[code][place] === token);
    return behind.length === 1 && (place === 0 || before.length > 1) ? behind[0] : null;
  }

  /* Read a legal token; returns the code that it completes, else null. */
  take(token) {
    this.path.push(token);
    const {expansions} = this.encoding;
    const code = this.legal().find(one => expansions[this.state][one].length === this.path.length && this.begins(expansions[this.state][one]));
    if (code === undefined) return null;
    this.advance(code);
    return code;
  }

  /* Read a code. The end of the program is none of its codes. */
  advance(code) {
    const {next_state: next, pushes, closes, nothing} = this.encoding;
    this.path = [];
    if (code === closes && !this.open.length) {
      this.ended = true;
      return;
    }
    this.codes.push(code);
    if (pushes[code] !== nothing) this.open.push(pushes[code]);
    this.state = code === closes ? this.open.pop() : next[this.state][code];
  }

  begins(ids) {
    return this.path.every((token, at) => ids[at] === token);
  }
}

/* --------------------------------------------------------------- writing */

/* Examples, each the glyphs of an input and of its output, as ids up to where a program begins. */
function promptIds({prompt}, examples) {
  const glyphs = examples.flat(2).flatMap(glyph => [prompt.glyph + glyph, ...prompt.behind]);
  return [...prompt.head, ...glyphs, ...prompt.begin];
}

/* Probabilities of some tokens, by default of all, from the logits of all. */
function shares(logits, tokens = [...logits.keys()], temperature = 1) {
  const most = Math.max(...tokens.map(token => logits[token]));
  const weights = tokens.map(token => Math.exp((logits[token] - most) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map(weight => weight / total);
}

/* Ways to pick one of the tokens that may come next. */
const likeliest = (logits, tokens) => tokens.reduce((best, token) => logits[token] > logits[best] ? token : best);
const atTemperature = (temperature, random) => (logits, tokens) => {
  let left = random();
  const found = shares(logits, tokens, temperature).findIndex(share => (left -= share) < 0);
  return found < 0 ? tokens.at(-1) : tokens[found];
};

/* A program that is written behind examples, or fed.

   last: what `feed` has returned of the last token; its logits are those of the next. statements: of each {position among
   the codes, code, emitted, read}, what `feed` has returned of the token before the one that decides on it, whose output it
   is ("generated" states), and of its own last one ("forced" states). */
class Writing {
  constructor(model, encoding, examples) {
    Object.assign(this, {encoding, context: model.begin(), grammar: new Pushdown(encoding), last: null, statements: []});
    for (const token of promptIds(encoding, examples)) this.last = this.context.feed(token);
  }

  copy() {
    const copied = Object.assign(Object.create(Writing.prototype), this);
    return Object.assign(copied, {context: this.context.copy(), grammar: this.grammar.copy(), statements: this.statements.map(one => ({...one}))});
  }

  /* Read a legal token; the one that ends the program is not fed. */
  token(token, edit = null) {
    const isStatement = code => code !== null && code < this.encoding.statements;
    const decided = this.grammar.decided(token);
    if (isStatement(decided)) this.statements.push({position: this.grammar.codes.length, code: decided, emitted: this.last, read: null});
    const completed = this.grammar.take(token);
    if (this.grammar.ended) return;
    this.last = this.context.feed(token, edit);
    if (isStatement(completed)) this.statements.at(-1).read = this.last;
  }

  /* Read codes of a program; an edit is made at the last token of the last of them. */
  feed(codes, edit = null) {
    codes.forEach((code, index) => {
      const ids = this.encoding.expansions[this.grammar.state][code];
      ids.forEach((token, at) => this.token(token, index + 1 === codes.length && at + 1 === ids.length ? edit : null));
    });
    return this;
  }

  /* Let the model go on, until the program ends (`grammar.ended`) or is cut. */
  write(pick = likeliest) {
    while (this.grammar.going) this.token(pick(this.last.logits, this.grammar.tokens()));
    return this;
  }
}

/* Every code that may come next: its probability among those, `free` the one that it has without the grammar, and its ids.
   Where a code takes several tokens, the product over those up to the one that decides on it. */
function nextCodes(writing) {
  const found = [];
  const follow = (context, last, grammar, probability, free) => {
    const tokens = grammar.tokens(), among = shares(last.logits, tokens), all = shares(last.logits);
    tokens.forEach((token, index) => {
      const code = grammar.decided(token), [here, freely] = [probability * among[index], free * all[token]];
      if (code !== null) {
        found.push({code, probability: here, free: freely, ids: grammar.encoding.expansions[grammar.state][code]});
        return;
      }
      const [behind, onwards] = [context.copy(), grammar.copy()];
      onwards.take(token);
      follow(behind, behind.feed(token), onwards, here, freely);
    });
  };
  follow(writing.context, writing.last, writing.grammar, 1, 1);
  return found;
}

/* ---------------------------------------------------------------- probes */

/* heads: for each head {layers: [[weight, bias], …]}, weights row by row, of hidden states as they are. */
class Probe {
  constructor(heads) {
    this.heads = heads;
  }

  /* For each head the class that it answers, its probability, and those of all classes. */
  answer(state) {
    return this.heads.map(({layers}) => {
      const units = layers.reduce((units, [weight, bias], at) => product(weight, at ? units.map(value => Math.max(0, value)) : units, bias), state);
      const probabilities = shares(units), probability = Math.max(...probabilities);
      return {class: probabilities.indexOf(probability), probability, probabilities};
    });
  }
}

/* ----------------------------------------------------------------- edits */

/* The part of a vector that lies in a subspace: an orthonormal basis (C, d), row by row. */
function within(basis, vector) {
  const count = basis.length / vector.length, out = new Float32Array(vector.length);
  for (let column = 0; column < count; column++) {
    const along = vector.reduce((sum, value, at) => sum + value * basis[at * count + column], 0);
    for (let at = 0; at < out.length; at++) out[at] += along * basis[at * count + column];
  }
  return out;
}

const minus = (one, other) => one.map((value, at) => value - other[at]);
const sizeOf = vector => Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));

/* Changes of a stream, given that of another document. */

/* What lies in a subspace is taken from there; all of it without one. */
const interchange = basis => (stream, source) => {
  if (!basis) return source;
  const move = within(basis, minus(source, stream));
  return stream.map((value, at) => value + move[at]);
};

/* In place of another change one as large, of what differs in a random subspace; where nothing does, along its first axis. */
const sham = (change, basis) => (stream, source) => {
  const size = sizeOf(minus(change(stream, source), stream)), move = within(basis, minus(source, stream)), count = basis.length / stream.length;
  const by = sizeOf(move);
  return stream.map((value, at) => value + size * (by > 0 ? move[at] / Math.max(by, 1e-12) : basis[at * count]));
};
