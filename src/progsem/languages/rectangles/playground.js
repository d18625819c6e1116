/* Rectangles on the page: points, programs, what they say, and what probes are asked about it. The computations are those
   of execution.py, features.py, gallery.py, sampling.py and text.py. A list of points is {points: [[row, column], …], sides},
   where sides, for each whether it is inside, are null in an input. */

const UNSET = FIELD + 1, MINUS = 7, PLUS = 8, SPACE = 9;  // the last three are glyphs
const none = () => Object.fromEntries(BOUNDS.map(name => [name, null]));

const isInside = ([row, column], {top, bottom, left, right}) =>
  row >= (top ?? 0) && row <= (bottom ?? FIELD) && column >= (left ?? 0) && column <= (right ?? FIELD);

function cellsOf({points}, sides) {
  const cells = Array.from({length: FIELD}, () => Array(FIELD).fill(0));
  points.forEach(([row, column], at) => { cells[row][column] = sides?.[at] ? INSIDE : 1; });
  return cells;
}

/* A rectangle, and what is asked of the points. */
function stateOfBounds(bounds, points) {
  const sides = points.map(point => isInside(point, bounds));
  return {...bounds, asked: true, first_point: sides[0] ?? false, points_inside: sides.filter(Boolean).length};
}

/* ------------------------------------------------------------- execution */

/* Say the numbers of a program of a list, under a mapping of bounds to what they mean; it halts if it has all four. */
function execute(codes, world, meanings) {
  const bounds = none();
  const statements = codes.map((code, position) => {
    bounds[meanings[BOUNDS[position]] ?? BOUNDS[position]] = code;
    const sides = world.points.map(point => isInside(point, bounds));
    return {position, text: String(code), executed: true, cells: cellsOf(world, sides), true: stateOfBounds({...bounds}, world.points)};
  });
  return {halted: codes.length === BOUNDS.length, end: {points: world.points, sides: world.points.map(point => isInside(point, bounds))}, statements};
}

/* ---------------------------------------------------------------- probes */

const LABELS = {
  bounds: is => BOUNDS.map(name => is[name] ?? UNSET),
  first_point: is => [Number(is.first_point)],
  points_inside: is => [is.points_inside],
};

/* What a probe is to answer after a statement: a class for each head of a feature; null of one that is not known here. */
const labels = (feature, {true: is}) => LABELS[feature]?.(is) ?? null;

/* The rectangle that a probe's answers by feature mean; null where not asked. */
function reading({bounds, first_point: first, points_inside: count}) {
  const said = bounds ? Object.fromEntries(BOUNDS.map((name, head) => [name, bounds[head] === UNSET ? null : bounds[head]])) : none();
  return {...said, asked: Boolean(bounds), first_point: first ? Boolean(first[0]) : null, points_inside: count ? count[0] : null};
}

/* ---------------------------------------------------------------- points */

/* A list as the text has it: that of an output, each point with its side, and spaces up to the longest list's end. */
function glyphs({points, sides}) {
  if (!sides) return [];
  const shown = points.flatMap(([row, column], at) => [row, column, sides[at] ? PLUS : MINUS]);
  return [...shown, ...Array(3 * data.language.points[1] - shown.length).fill(SPACE)];
}

const solved = (end, wanted) => wanted.sides.every((side, at) => side === end.sides[at]);

/* Why no rectangle puts the points on their sides, in a sentence; null where one does. */
function refusal(input, {points, sides}) {
  if (JSON.stringify(input.points) !== JSON.stringify(points)) return "The output has other points than the input.";
  const inside = points.filter((_, at) => sides[at]);
  if (!inside.length) return null;
  const [rows, columns] = [0, 1].map(axis => inside.map(point => point[axis]));
  const around = {top: Math.min(...rows), bottom: Math.max(...rows), left: Math.min(...columns), right: Math.max(...columns)};
  const caught = points.find((point, at) => !sides[at] && isInside(point, around));
  return caught ? `No rectangle has all of these points inside and leaves out the one in ${where(...caught)}.` : null;
}

const where = (row, column) => `row ${row}, column ${column}`;
const board = ({points, sides}) => [cellsOf({points}, sides), {...none(), asked: true, first_point: sides?.[0] ?? false, points_inside: sides?.filter(Boolean).length ?? 0}];

function cellWords({points, sides}, row, column) {
  const at = points.findIndex(point => point[0] === row && point[1] === column);
  return `${capital(where(row, column))}: ${at < 0 ? "no point" : sides ? `point ${sides[at] ? "inside" : "outside"}` : "a point"}`;
}

const TOOLS = [{id: "point", key: "p", words: "a point, or none"}, {id: "side", key: "i", words: "a point inside, or outside"}];

/* An example after a tool was used on a cell; an Error says in a line why it cannot be. */
function tooled(tool, {input, output}, which, row, column) {
  const here = point => point[0] === row && point[1] === column, [fewest, most] = data.language.points;
  let {points, sides} = output;
  if (tool === "side") {
    if (which === "input") throw new Error("Sides are asked for in the output; in the input, points have none.");
    if (!points.some(here)) throw new Error(`There is no point in ${where(row, column)}.`);
    sides = sides.map((side, at) => here(points[at]) ? !side : side);
  } else if (points.some(here)) {
    sides = sides.filter((_, at) => !here(points[at]));
    points = points.filter(point => !here(point));
    if (points.length < fewest) throw new Error(`A list of this study has at least ${plural(fewest, "point")}.`);
  } else {
    if (points.length === most) throw new Error(`A list of this study has at most ${plural(most, "point")}.`);
    [points, sides] = [[...points, [row, column]], [...sides, false]];
  }
  const example = {input: {points, sides: null}, output: {points, sides}}, problem = refusal(example.input, example.output);
  if (problem) throw new Error(problem);
  return example;
}

/* A list in few characters, for an address, and back: row, column, and i inside, o outside, or x of an input. */
const worldText = ({points, sides}) => points.map(([row, column], at) => `${row}${column}${sides ? sides[at] ? "i" : "o" : "x"}`).join("");

/* `config` says how many points there may be. An Error says in a line what is wrong. */
function worldFrom(text, {points: [fewest, most]}, which) {
  const pattern = which === "input" ? /^(?:[0-5]{2}x)*$/ : /^(?:[0-5]{2}[io])*$/;
  if (!pattern.test(text)) throw new Error(`points: given '${text.slice(0, 40)}', expected rows and columns from 0 to ${FIELD - 1}, each with ${which === "input" ? "x" : "i or o"}`);
  const found = text.match(/.../g) ?? [];
  if (found.length < fewest || found.length > most) throw new Error(`points: given ${found.length}, expected ${fewest} to ${most}`);
  return {points: found.map(one => [Number(one[0]), Number(one[1])]), sides: which === "input" ? null : found.map(one => one[2] === "i")};
}

/* -------------------------------------------------------------- programs */

/* The codes of a program such as [1,3,1,4], or of how one begins. An Error says in a line what is wrong. */
function parse(text) {
  const begun = /^\s*\[?\s*(\d+(?:[\s,]+\d+)*)[\s,]*\]?\s*$/.exec(text), codes = begun?.[1].split(/[\s,]+/).map(Number);
  if (!begun || codes.length > BOUNDS.length || Math.max(...codes) > FIELD) throw new Error(`program: given '${text.slice(0, 40)}', expected up to ${BOUNDS.length} numbers from 0 to ${FIELD}: ${BOUNDS.join(", ")}, as [1,3,1,4]`);
  return {codes};
}

const spelled = codes => `[${codes.join(",")}${codes.length === BOUNDS.length ? "]" : ""}`;

/* --------------------------------------------------------------- drawing lots */

const below = (random, bound) => Math.floor(random() * bound);

function randomWorld(random, {points: [fewest, most]}) {
  const points = Array.from({length: fewest + below(random, most - fewest + 1)}, () => [below(random, FIELD), below(random, FIELD)]);
  return {points, sides: null};
}

function randomProgram(random) {
  const side = () => {
    const low = below(random, FIELD - 1);
    return [low, low + 1 + below(random, FIELD - low)];
  };
  return [...side(), ...side()];
}
