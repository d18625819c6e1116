/* Karel on the page: worlds, programs, what they do, and what probes are asked about it. The computations are those of
   interpreter.py, features.py, gallery.py, sampling.py, syntax.py and text.py, and so are programs as codes (codes.py). A
   world is {cells, state: {row, column, heading}}. The page asks for: execute, labels, reading, glyphs, solved, refusal,
   parse, spelled, randomWorld, randomProgram, worldText, worldFrom, board, cellWords, TOOLS and tooled. */

const ACTIONS = ["pick_marker", "put_marker", "turn_left", "turn_right", "move"];
const CONDITIONS = ["front_is_clear", "left_is_clear", "right_is_clear", "markers_present", "no_markers_present"];
const FRONT = 5, NOT = 10, IF = 11, IFELSE = 12, ELSE = 13, WHILE = 14, REPEAT = 15, OPEN = 16, CLOSE = 17, NUMBER = 18;
const KEYWORDS = {if: IF, ifelse: IFELSE, while: WHILE, repeat: REPEAT};
const MAX_REPEAT = 19, MAX_MARKERS = WALL - 1, MAX_DIGIT = 9, MANY_MARKERS = 3, FIRST_ROBOT = 11;  // the glyph of a robot that faces north
const LETTERS = "NESW";

/* ------------------------------------------------------------- execution */

/* Statements of a block, or of a program, from `cursor.at` on, which is moved behind the block's end. */
function blockOf(codes, cursor) {
  const statements = [];
  while (cursor.at < codes.length && codes[cursor.at] !== CLOSE) {
    const position = cursor.at, code = codes[cursor.at++], statement = {position, code};
    statements.push(statement);
    if (code < FRONT) continue;
    if (code !== REPEAT && (statement.negated = codes[cursor.at] === NOT)) cursor.at++;
    statement.of = codes[cursor.at++] - (code === REPEAT ? NUMBER : FRONT);  // how often, or which condition
    cursor.at++;
    statement.body = blockOf(codes, cursor);
    if (code !== IFELSE) continue;
    cursor.at += 2;
    statement.otherwise = blockOf(codes, cursor);
  }
  cursor.at++;
  return statements;
}

function isClear(cells, {row, column}, heading) {
  const [down, across] = AHEAD[heading % 4];
  return (cells[row + down]?.[column + across] ?? WALL) !== WALL;
}

const LIMIT = Symbol("the run ends here, and has not halted");

class Run {
  constructor({cells, state}, meanings, stepLimit) {
    Object.assign(this, {cells: cells.map(line => [...line]), robot: {...state}, meanings, left: stepLimit, branch: 0, first: new Map()});
  }

  step() {
    if (--this.left === 0) throw LIMIT;
  }

  /* `branch`: how the condition that was tested last came out, 0 none so far, 1 it failed, 2 it held. */
  test({of, negated}) {
    const {cells, robot} = this, markers = cells[robot.row][robot.column];
    const [front, left, right, some] = CONDITIONS.keys();
    const holds = of < some ? isClear(cells, robot, robot.heading + {[front]: 0, [left]: 3, [right]: 1}[of]) : markers > 0 === (of === some);
    this.branch = holds === negated ? 1 : 2;
    this.step();
    return holds !== negated;
  }

  act({position, code}) {
    const {cells, robot, meanings, branch} = this, line = cells[robot.row];
    switch (meanings[ACTIONS[code]] ?? ACTIONS[code]) {
      case "pick_marker": line[robot.column] = Math.max(0, line[robot.column] - 1); break;
      case "put_marker":
        if (line[robot.column] === MAX_MARKERS) throw LIMIT;
        line[robot.column] += 1;
        break;
      case "turn_left": robot.heading = (robot.heading + 3) % 4; break;
      case "turn_right": robot.heading = (robot.heading + 1) % 4; break;
      case "move":
        if (isClear(cells, robot, robot.heading)) {
          robot.row += AHEAD[robot.heading][0];
          robot.column += AHEAD[robot.heading][1];
        }
    }
    if (!this.first.has(position)) {
      const is = {...robot, markers: cells[robot.row][robot.column], wall_ahead: !isClear(cells, robot, robot.heading)};
      this.first.set(position, {cells: cells.map(one => [...one]), true: is, branch});
    }
    this.step();
  }

  all(body) {
    for (const statement of body) {
      if (statement.code < FRONT) this.act(statement);
      else if (statement.code === REPEAT) this.repeat(statement);
      else if (statement.code === WHILE) while (this.test(statement)) this.all(statement.body);
      else if (this.test(statement)) this.all(statement.body);
      else this.all(statement.otherwise ?? []);
    }
  }

  repeat({of, body}) {
    for (let round = 0; round < of; round++) {
      const before = this.left;
      this.all(body);
      if (this.left === before) break;  // nothing was done, nor will be
    }
  }
}

/* Run a program under a mapping of statements to what they mean. statements: each as it was right after its first execution,
   and what probes are asked beside that: how the last condition came out (`branch`), and the robot at the `end`. */
function execute(codes, world, meanings, stepLimit) {
  const run = new Run(world, meanings, stepLimit);
  let halted = true;
  try {
    run.all(blockOf(codes, {at: 0}));
  } catch (stopped) {
    if (stopped !== LIMIT) throw stopped;
    halted = false;
  }
  const statements = [...codes.keys()].filter(position => codes[position] < FRONT).map(position => ({
    position, text: `${ACTIONS[codes[position]]}()`, executed: run.first.has(position),
    ...(run.first.get(position) ?? {cells: null, true: null, branch: null}), end: run.robot,
  }));
  return {halted, end: {cells: run.cells, state: run.robot}, statements};
}

/* ---------------------------------------------------------------- probes */

/* How far a robot is from where another one stands, as labels have it. */
const offset = (is, other, cells) => [is.column - other.column + cells[0].length - 1, is.row - other.row + cells.length - 1];
const LABELS = {
  facing: ({true: is}) => [is.heading],
  offset_from_start: ({true: is}, {cells, state}) => offset(is, state, cells),
  offset_from_end: ({true: is, end}, {cells}) => end && offset(is, end, cells),
  wall_ahead: ({true: is}) => [Number(is.wall_ahead)],
  position: ({true: is}) => [is.column, is.row],
  neighbour_walls: ({true: is}, {cells}) => [0, 1, 2, 3].map(heading => Number(!isClear(cells, is, heading))),
  markers: ({true: is}) => [Math.min(is.markers, MANY_MARKERS)],
  branch: ({branch}) => [branch],
};

/* What a probe is to answer after a statement that is reached in a run from `world`: a class for each head of a feature; null
   where the program's `end` is asked about and not known, and of a feature that is not known here. */
const labels = (feature, statement, world) => LABELS[feature]?.(statement, world) ?? null;

/* The robot that a probe's answers by feature mean, for one that started in `world`; null where not asked. */
function reading(answers, {cells, state}) {
  const {facing, offset_from_start: from, wall_ahead: wall} = answers;
  return {
    row: from ? state.row + from[1] - (cells.length - 1) : null, column: from ? state.column + from[0] - (cells[0].length - 1) : null,
    heading: facing ? facing[0] : null, wall_ahead: wall ? Boolean(wall[0]) : null,
  };
}

/* ---------------------------------------------------------------- worlds */

/* A world as the text draws it, a number for each cell: 0 a wall, then no marker, one, …; the robot hides those of its cell. */
function glyphs({cells, state}) {
  return cells.flatMap((line, row) => line.map((cell, column) => {
    if (row === state.row && column === state.column) return FIRST_ROBOT + state.heading;
    return cell === WALL ? 0 : 1 + Math.min(cell, MAX_DIGIT);
  }));
}

/* Whether a run's end looks like the wanted world. */
function solved(end, wanted) {
  const looks = glyphs(wanted);
  return glyphs(end).every((glyph, at) => glyph === looks[at]);
}

/* Why no program turns an input into an output, in a sentence; null where one does, however long. */
function refusal(input, output) {
  const {cells, state} = input, [height, width] = [cells.length, cells[0].length];
  if (output.cells.length !== height || output.cells[0].length !== width) return `The output has ${output.cells.length} by ${output.cells[0].length} cells, but the input ${height} by ${width}.`;
  for (const [name, world] of [["input", input], ["output", output]]) {
    if ((world.cells[world.state.row]?.[world.state.column] ?? WALL) === WALL) return `The robot of the ${name} stands in a wall, in ${place(world.state)}.`;
  }
  const all = cells.flatMap((line, row) => line.map((_, column) => ({row, column})));
  const isWall = (grid, {row, column}) => grid[row][column] === WALL;
  const moved = all.find(cell => isWall(cells, cell) !== isWall(output.cells, cell));
  if (moved) return `${capital(place(moved))} is a wall in the ${isWall(cells, moved) ? "input" : "output"} alone, and no program moves one.`;
  const reached = new Set(), key = ({row, column}) => row * width + column;
  const reach = cell => {
    reached.add(key(cell));
    AHEAD.forEach(([down, across], heading) => {
      const next = {row: cell.row + down, column: cell.column + across};
      if (isClear(cells, cell, heading) && !reached.has(key(next))) reach(next);
    });
  };
  reach(state);
  if (!reached.has(key(output.state))) return `The robot cannot get to ${place(output.state)}: walls are in between.`;
  const [before, after] = [glyphs(input), glyphs(output)];
  const other = all.find(cell => !reached.has(key(cell)) && before[key(cell)] !== after[key(cell)]);
  return other ? `The markers in ${place(other)} cannot change: the robot cannot get there.` : null;
}

/* A world in few characters, for an address, and back: rows with - between, x a wall, . no marker, 1 to 9 or _12_ markers,
   and before the robot's cell where it faces, one of N, E, S, W. */
function worldText({cells, state}) {
  const markers = count => count === 0 ? "." : count > MAX_DIGIT ? `_${count}_` : String(count);
  return cells.map((line, row) => line.map((cell, column) =>
    (row === state.row && column === state.column ? LETTERS[state.heading] : "") + (cell === WALL ? "x" : markers(cell))).join("")).join("-");
}

/* `config` says the height and width that a world must have. An Error says in a line what is wrong. */
function worldFrom(text, {height, width}) {
  const robots = [];
  const cells = text.split("-").map((line, row) => {
    if (!/^([NESW]?([x.1-9]|_\d{1,3}_))*$/.test(line)) throw new Error(`world, row ${row + 1}: given '${line.slice(0, 40)}', expected cells: x, ., 1 to 9 or _12_, and N, E, S or W before the robot's`);
    return [...line.matchAll(/([NESW]?)([x.1-9]|_\d+_)/g)].map(([, heading, cell], column) => {
      if (heading) robots.push({row, column, heading: LETTERS.indexOf(heading)});
      if (cell === "x") return WALL;
      const markers = cell === "." ? 0 : Number(cell.replaceAll("_", ""));
      if (markers > MAX_MARKERS) throw new Error(`world, ${place({row, column})}: given ${markers} markers, expected at most ${MAX_MARKERS}`);
      return markers;
    });
  });
  const uneven = cells.find(line => line.length !== width);
  if (cells.length !== height || uneven) throw new Error(`world: given ${plural(cells.length, "row")}${uneven ? `, one of them of ${plural(uneven.length, "cell")}` : ""}, expected ${height} of ${plural(width, "cell")}`);
  if (robots.length !== 1) throw new Error(`world: given ${plural(robots.length, "robot")}, expected one`);
  if (cells[robots[0].row][robots[0].column] === WALL) throw new Error(`world: given a robot in a wall, in ${place(robots[0])}, expected it in a free cell`);
  return {cells, state: robots[0]};
}

/* -------------------------------------------------------------- programs */

/* The codes of a program: def run() { … }, or its statements alone, whose () and ; and the parentheses around
   conditions and counts may be left out. `encoding` says which programs the model knows. An Error says in a line what
   is wrong. */
function parse(text, encoding) {
  const tokens = [...text.matchAll(/\w+|\S/g)], codes = [];
  let at = 0, depth = 0;
  const next = () => tokens[at]?.[0];
  const refuse = expected => {
    const where = at < tokens.length ? `character ${tokens[at].index + 1}: given '${next().slice(0, 40)}'` : "given the end of the text";
    throw new Error(`program, ${where}, expected ${expected}`);
  };
  const maybe = word => next() === word && Boolean(++at);
  const need = (word, expected = `'${word}'`) => maybe(word) || refuse(expected);
  const call = () => maybe("(") && need(")");
  const around = inner => {
    const opened = maybe("(");
    inner();
    if (opened) need(")");
  };
  const test = () => around(() => {
    if (maybe("not")) codes.push(NOT);
    const which = CONDITIONS.indexOf(next());
    if (which < 0) refuse(`a condition (${CONDITIONS.join(", ")})`);
    at++;
    codes.push(FRONT + which);
    call();
  });
  const count = () => around(() => {
    if (!/^\d{1,2}$/.test(next() ?? "") || Number(next()) > MAX_REPEAT) refuse(`a count from 0 to ${MAX_REPEAT}`);
    codes.push(NUMBER + Number(tokens[at++][0]));
  });
  const braces = () => {
    need("{");
    codes.push(OPEN);
    body();
    need("}", "a statement or '}'");
    codes.push(CLOSE);
  };
  const statement = () => {
    const word = next(), action = ACTIONS.indexOf(word), known = Object.hasOwn(KEYWORDS, word ?? "");
    if (known && !encoding.control_flow) refuse(`a statement (${ACTIONS.join(", ")}): the model knows no blocks`);
    if (known && depth === encoding.max_depth) refuse(`a statement (${ACTIONS.join(", ")}): blocks nest at most ${encoding.max_depth} deep`);
    if (action < 0 && !known) refuse(`a statement (${[...ACTIONS, ...encoding.control_flow ? Object.keys(KEYWORDS) : []].join(", ")})`);
    at++;
    codes.push(known ? KEYWORDS[word] : action);
    if (!known) {
      call();
      return;
    }
    depth++;
    (word === "repeat" ? count : test)();
    braces();
    if (word === "ifelse") {
      need("else");
      codes.push(ELSE);
      braces();
    }
    depth--;
  };
  const body = () => {
    do {
      statement();
      maybe(";");
    } while (at < tokens.length && next() !== "}");
  };
  const whole = maybe("def");
  if (whole) for (const word of ["run", "(", ")", "{"]) need(word);
  body();
  if (whole) need("}", "a statement or '}'");
  if (at < tokens.length) refuse("the end of the program");
  if (codes.length > encoding.codes) throw new Error(`program: given ${codes.length} ${encoding.control_flow ? "words" : "statements"}, expected at most ${encoding.codes}, as long as the model's may be`);
  return {codes};
}

/* A program's text. */
function spelled(codes) {
  const words = Object.fromEntries(Object.entries(KEYWORDS).map(([word, code]) => [code, word]));
  let text = "def run() {", between = " ";
  for (const code of codes) {
    if (code < FRONT) text += `${between}${ACTIONS[code]}()`;
    else if (code < NOT) text += `${CONDITIONS[code - FRONT]}())`;
    else if (code in words) text += `${between}${words[code]} (`;
    else text += {[NOT]: "not ", [OPEN]: " {", [CLOSE]: " }", [ELSE]: " else"}[code] ?? `${code - NUMBER})`;
    between = code === OPEN ? " " : "; ";
  }
  return text + " }";
}

/* --------------------------------------------------------------- drawing lots */

const below = (random, bound) => Math.floor(random() * bound);

/* config: height, width, wall_probability, marker_probability; `random` gives numbers in [0, 1). */
function randomWorld(random, {height, width, wall_probability: wall, marker_probability: marker}) {
  const cell = () => random() < wall ? WALL : Number(random() < marker);
  const cells = Array.from({length: height}, () => Array.from({length: width}, cell));
  const state = {row: below(random, height), column: below(random, width), heading: below(random, 4)};
  cells[state.row][state.column] = 0;
  return {cells, state};
}

/* config: length, fewest and most statements; weights by the names of statements; control_flow, max_depth. */
function randomProgram(random, {length: [fewest, most], weights, control_flow: control, max_depth: deepest}) {
  const total = ACTIONS.reduce((sum, name) => sum + weights[name], 0), codes = [];
  const action = () => {
    let left = random() * total;
    return ACTIONS.findIndex(name => (left -= weights[name]) < 0);
  };
  const condition = () => [...random() < .5 ? [NOT] : [], FRONT + below(random, CONDITIONS.length)];
  const fill = (left, depth) => {
    while (left > 0) {
      if (depth === deepest || random() >= control) {
        codes.push(action());
        left--;
        continue;
      }
      let code = [IF, WHILE, REPEAT, IFELSE][below(random, 4)];
      if (code === IFELSE && left < 2) code = IF;
      const inside = code === IFELSE ? 2 + below(random, left - 1) : 1 + below(random, left);
      const otherwise = code === IFELSE ? 1 + below(random, inside - 1) : 0;
      codes.push(code, ...code === REPEAT ? [NUMBER + 2 + below(random, 3)] : condition(), OPEN);
      fill(inside - otherwise, depth + 1);
      codes.push(CLOSE);
      if (otherwise) {
        codes.push(ELSE, OPEN);
        fill(otherwise, depth + 1);
        codes.push(CLOSE);
      }
      left -= inside;
    }
  };
  fill(fewest + below(random, most - fewest + 1), 0);
  return codes;
}

/* ---------------------------------------------------------------- drawing */

const board = ({cells, state}) => [cells, state];

function cellWords({cells, state}, row, column) {
  const cell = cells[row][column], lies = cell === WALL ? "wall" : cell ? plural(cell, "marker") : "empty";
  return `${capital(place({row, column}))}: ${lies}${row === state.row && column === state.column ? `, the robot facing ${HEADINGS[state.heading]}` : ""}`;
}

const TOOLS = [
  {id: "robot", key: "r", words: "the robot; once more turns it"}, {id: "wall", key: "w", words: "a wall, or none"},
  {id: "more", key: "m", words: "one marker more"}, {id: "less", key: "l", words: "one marker less"},
];

/* An example after a tool was used on a cell of its input or output; an Error says in a line why it cannot be. Walls stand
   in both. */
function tooled(tool, {input, output}, which, row, column) {
  const made = {input: copied(input), output: copied(output)}, {cells, state} = made[which], here = place({row, column});
  const isRobot = one => one.state.row === row && one.state.column === column;
  if (tool === "robot") {
    if (cells[row][column] === WALL) throw new Error(`There is a wall in ${here}: the robot stands in free cells.`);
    Object.assign(state, isRobot(made[which]) ? {heading: (state.heading + 1) % 4} : {row, column});
  } else if (tool === "wall") {
    if (which === "output") throw new Error("No program moves a wall: draw it in the input, and it stands in the output as well.");
    if (isRobot(made.input) || isRobot(made.output)) throw new Error(`The robot of the ${isRobot(made.input) ? "input" : "output"} stands in ${here}: no wall can be there.`);
    const wall = cells[row][column] === WALL ? 0 : WALL;
    for (const one of [made.input, made.output]) one.cells[row][column] = wall;
  } else {
    if (cells[row][column] === WALL) throw new Error(`There is a wall in ${here}: markers lie in free cells.`);
    if (tool === "less" && !cells[row][column]) throw new Error(`There is no marker in ${here}.`);
    if (tool === "more" && cells[row][column] === MAX_DIGIT) throw new Error(`The text draws at most ${MAX_DIGIT} markers in a cell.`);
    cells[row][column] += tool === "more" ? 1 : -1;
  }
  const problem = refusal(made.input, made.output);
  if (problem) throw new Error(problem);
  return made;
}

const copied = ({cells, state}) => ({cells: cells.map(line => [...line]), state: {...state}});
