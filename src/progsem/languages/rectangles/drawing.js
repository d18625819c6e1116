/* How the trace viewer shows rectangles. The page asks for: TITLE, THING, STATEMENT, BLOCKS, READABLE, WORDS, unpacked,
   judged, drawWorld, drawReading, drawNothing, plainly, readingInWords, readingNote, comparison and keys. */

const TITLE = "which bounds have been said, and which a probe reads", THING = "rectangle so far";
const FIELD = 6, INSIDE = 2, BOUNDS = ["top", "bottom", "left", "right"];
const STATEMENT = /[0-6]/g;
const BLOCKS = /$^/;  // no number is said more than once
const READABLE = {bounds: "Bounds", first_point: "First point", points_inside: "Points inside"};
const bounds = one => BOUNDS.map(name => `${name} ${one[name] ?? "–"}`).join(", ");
const WORDS = {
  bounds, first_point: one => one.first_point ? "inside" : "outside", points_inside: one => String(one.points_inside),
};
const KEYS = [...BOUNDS, "asked", "first_point", "points_inside"];

/* A statement as it was before `packed` in drawing.py. */
function unpacked(spec, [cells, is, said]) {
  return {executed: true, cells, true: named(KEYS, is), read: named(KEYS, said)};
}

/* What is right: by feature true or false, null where it was not read. */
function judged(statement) {
  const {true: is, read: said} = statement;
  const right = {};
  if (said.asked) right.bounds = BOUNDS.every(name => said[name] === is[name]);
  if (said.first_point !== null) right.first_point = said.first_point === is.first_point;
  if (said.points_inside !== null) right.points_inside = said.points_inside === is.points_inside;
  return right;
}

/* ---------------------------------------------------------------- fields */

function fieldOf(cells, label, faint) {
  const drawn = element("svg:svg", {
    viewBox: `-.35 -.35 ${FIELD + .7} ${FIELD + .7}`, role: "img", "aria-label": label, class: faint ? "faint" : null,
  });
  cells.forEach((line, row) => line.forEach((cell, column) => {
    const group = element("svg:g", {class: "cell", "data-row": row, "data-column": column, "data-cell": cell});
    group.append(element("svg:rect", {class: "free", x: column, y: row, width: 1, height: 1}));
    drawn.append(group);
  }));
  return drawn;
}

function spots(drawn, cells) {
  cells.forEach((line, row) => line.forEach((cell, column) => {
    if (cell) drawn.append(element("svg:circle", {class: "spot" + (cell === INSIDE ? " inside" : ""), cx: column + .5, cy: row + .5, r: .22}));
  }));
}

/* The cells within bounds; those that are not said leave nothing out. */
function outline(kind, {top, bottom, left, right}) {
  const [first, last] = [[top ?? 0, left ?? 0], [bottom ?? FIELD - 1, right ?? FIELD - 1].map(most => Math.min(most, FIELD - 1))];
  const [height, width] = [last[0] - first[0] + 1, last[1] - first[1] + 1];
  return element("svg:rect", {class: kind, x: first[1], y: first[0], width: Math.max(0, width), height: Math.max(0, height)});
}

const plainly = one => `${bounds(one)}; ${plural(one.points_inside, "point")} inside`;

function drawWorld(into, cells, one) {
  const drawn = fieldOf(cells, `${FIELD} by ${FIELD} cells; ${plainly(one)}`, false);
  drawn.append(outline("rectangle", one));
  spots(drawn, cells);
  $(into).replaceChildren(drawn);
}

function drawReading(into, cells, statement) {
  const {true: is, read: said} = statement, right = judged(statement);
  const drawn = fieldOf(cells, readingInWords(statement), true);
  if (said.asked) {
    if (!right.bounds) drawn.append(outline("ghost", is));
    drawn.append(outline("reading " + (right.bounds ? "right" : "wrong"), said));
  } else drawn.append(inTheMiddle("bounds not probed"));
  $(into).replaceChildren(drawn);
}

const inTheMiddle = words => element("svg:text", {class: "said", x: FIELD / 2, y: FIELD / 2, "font-size": FIELD / 14}, words);

function drawNothing(into, cells, words) {
  const drawn = fieldOf(cells, words, true);
  drawn.append(inTheMiddle(words));
  $(into).replaceChildren(drawn);
}

function readingInWords(statement) {
  const right = judged(statement);
  const parts = Object.keys(right).map(name => `${READABLE[name].toLowerCase()} ${WORDS[name](statement.read)}: ${right[name] ? "right" : "wrong"}`);
  return parts.length ? `The probe reads ${parts.join("; ")}` : "Not probed";
}

/* Points are as the specification says them; now they are where the bounds so far put them. */
function comparison(wanted, cells, one, atTheEnd) {
  let differ = 0;
  wanted.cells.forEach((line, row) => line.forEach((cell, column) => { differ += cell !== cells[row][column]; }));
  const different = `${plural(differ, "cell")} with points ${differ === 1 ? "is" : "are"} on the wrong side`;
  if (atTheEnd) return differ ? `✗ ${different} at the end.` : "✓ All points are on their side.";
  return differ ? `${capital(different)} so far.` : "All points are on their side now.";
}

function readingNote(statement) {
  const right = Object.values(judged(statement)), wrong = right.filter(value => !value).length;
  return wrong ? `${wrong} of ${plural(right.length, "reading")} wrong.` : `All of ${plural(right.length, "reading")} right.`;
}

/* What signs mean, for the legend. */
function keys(sample, classed) {
  const box = kind => element("svg:rect", {class: kind, x: -.4, y: -.3, width: .8, height: .6});
  return [
    [sample(element("svg:circle", {class: "spot inside", r: .2, cx: -.27}), element("svg:circle", {class: "spot", r: .2, cx: .27})), "a point inside, one outside"],
    [sample(box("rectangle")), "what is within the bounds so far; those that have not been said leave nothing out"],
    [sample(box("reading right")), "bounds read right"],
    [sample(box("reading wrong")), "bounds read wrong, dashed; thin and grey: what they are"],
  ];
}
