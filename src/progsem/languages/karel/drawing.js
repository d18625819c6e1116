/* How the trace viewer shows Karel. The page asks for: TITLE, THING, STATEMENT, BLOCKS, READABLE, WORDS, unpacked, judged,
   drawWorld, drawReading, drawNothing, plainly, readingInWords, readingNote, comparison and keys. */

const TITLE = "where the robot is, and where a probe reads it to be", THING = "robot";
const WALL = 255, HEADINGS = ["north", "east", "south", "west"], ARROWS = ["↑", "→", "↓", "←"];
const AHEAD = [[-1, 0], [0, 1], [1, 0], [0, -1]];  // rows and columns, by heading
const STATEMENT = /(?:pick_marker|put_marker|turn_left|turn_right|move)\(\)/g;
const READABLE = {offset_from_start: "Position", facing: "Heading", wall_ahead: "Wall ahead"};
const BLOCKS = /\b(if|ifelse|while|repeat)\b/;  // in a program whose statements may run more than once
const WORDS = {
  offset_from_start: robot => `row ${robot.row + 1}, col ${robot.column + 1}`, facing: robot => side(robot.heading), wall_ahead: robot => robot.wall_ahead ? "yes" : "no",
};
const TRUE = ["row", "column", "heading", "markers", "wall_ahead"], READ = ["row", "column", "heading", "wall_ahead"];

/* A statement as it was before `packed` in drawing.py. */
function unpacked(spec, [changes, is, said]) {
  const cells = changes && spec.cells.map(line => [...line]);
  for (const [row, column, cell] of changes ?? []) cells[row][column] = cell;
  return {executed: changes !== null, cells, true: named(TRUE, is), read: named(READ, said)};
}

/* What is right: by feature true or false, null where it was not read. */
function judged(statement) {
  const {true: is, read: said} = statement;
  const right = {};
  if (is && said.row !== null) right.offset_from_start = said.row === is.row && said.column === is.column;
  if (is && said.heading !== null) right.facing = said.heading === is.heading;
  if (is && said.wall_ahead !== null) right.wall_ahead = said.wall_ahead === is.wall_ahead;
  return right;
}

/* ---------------------------------------------------------------- worlds */

function worldOf(cells, label, faint) {
  const [height, width] = [cells.length, cells[0].length];
  const drawn = element("svg:svg", {
    viewBox: `-.35 -.35 ${width + .7} ${height + .7}`, role: "img", "aria-label": label, class: faint ? "faint" : null,
  });
  drawn.append(element("svg:rect", {class: "wall", x: -.35, y: -.35, width: width + .7, height: height + .7, rx: .12}));
  cells.forEach((line, row) => line.forEach((cell, column) => {
    const wall = cell === WALL, markers = faint || wall ? 0 : cell;
    const group = element("svg:g", {class: "cell", "data-row": row, "data-column": column, "data-cell": wall ? "wall" : markers});
    group.append(element("svg:rect", {class: wall ? "wall" : "free", x: column, y: row, width: 1, height: 1}));
    if (markers) group.append(element("svg:g", {class: "marker", transform: `translate(${column + .77} ${row + .77})`},
      element("svg:circle", {r: .19}), element("svg:text", {y: .105}, String(markers))));
    drawn.append(group);
  }));
  return drawn;
}

const triangle = (size, heading) => element("svg:path", {
  d: `M0 ${-size}L${.78 * size} ${.8 * size}L0 ${.42 * size}L${-.78 * size} ${.8 * size}Z`, transform: `rotate(${90 * heading})`,
});
function arrow(kind, {row, column, heading}, size, aside = 0) {
  const group = element("svg:g", {
    class: kind, transform: `translate(${column + .5 - aside} ${row + .5 - aside})`, "data-row": row, "data-column": column, "data-heading": HEADINGS[heading],
  });
  group.append(triangle(size, heading));
  return group;
}

const place = ({row, column}) => `row ${row + 1}, column ${column + 1}`;
const side = heading => `${ARROWS[heading]} ${HEADINGS[heading]}`;
const plainly = robot => `robot in ${place(robot)}, facing ${HEADINGS[robot.heading]}`;

function described(cells, robot) {
  const things = [];
  cells.forEach((line, row) => line.forEach((cell, column) => {
    if (cell) things.push(`${cell === WALL ? "wall" : plural(cell, "marker")} in ${place({row, column})}`);
  }));
  return `${cells.length} by ${cells[0].length} cells; ${[plainly(robot), ...things].join("; ")}`;
}

function drawWorld(into, cells, robot) {
  const drawn = worldOf(cells, described(cells, robot), false);
  drawn.append(arrow("robot", robot, .33, cells[robot.row][robot.column] ? .1 : 0));  // makes room for a count of markers
  $(into).replaceChildren(drawn);
}

/* A ring where the probe places the robot, the heading it reads inside, a bar in front for a wall. */
function drawReading(into, cells, statement) {
  const {true: is, read: said} = statement, right = judged(statement);
  const [height, width] = [cells.length, cells[0].length];
  const drawn = worldOf(cells, readingInWords(statement), true);
  if (said.row === null) {
    drawn.append(inTheMiddle(cells, "position not probed"));
  } else {
    const within = {row: Math.max(-.55, Math.min(height - .45, said.row)), column: Math.max(-.55, Math.min(width - .45, said.column))};
    if (!right.offset_from_start) drawn.append(arrow("ghost", is, .2));
    const group = element("svg:g", {class: "reading", transform: `translate(${within.column + .5} ${within.row + .5})`, "data-row": said.row, "data-column": said.column});
    group.append(element("svg:circle", {class: "place " + (right.offset_from_start ? "right" : "wrong"), r: .43}));
    if (said.heading !== null) {
      const head = triangle(.27, said.heading);
      head.setAttribute("class", "heading " + (right.facing ? "right" : "wrong"));
      group.append(head);
      if (said.wall_ahead) {
        const [down, across] = AHEAD[said.heading];
        group.append(element("svg:line", {
          class: "ahead " + (right.wall_ahead ? "right" : "wrong"),
          x1: .5 * across - .36 * down, x2: .5 * across + .36 * down, y1: .5 * down - .36 * across, y2: .5 * down + .36 * across,
        }));
      }
    }
    drawn.append(group);
  }
  $(into).replaceChildren(drawn);
}

const inTheMiddle = (cells, words) => element("svg:text", {
  class: "said", x: cells[0].length / 2, y: cells.length / 2, "font-size": cells[0].length / 14,
}, words);

function drawNothing(into, cells, words) {
  const drawn = worldOf(cells, words, true);
  drawn.append(inTheMiddle(cells, words));
  $(into).replaceChildren(drawn);
}

function readingInWords(statement) {
  const {read: said} = statement, right = judged(statement);
  const parts = [];
  const add = (name, words) => parts.push(`${words}: ${right[name] ? "right" : "wrong"}`);
  if ("offset_from_start" in right) add("offset_from_start", `position ${place(said)}`);
  if ("facing" in right) add("facing", `heading ${HEADINGS[said.heading]}`);
  if ("wall_ahead" in right) add("wall_ahead", said.wall_ahead ? "a wall ahead" : "no wall ahead");
  return parts.length ? `The probe reads ${parts.join("; ")}` : "Not probed";
}

/* Worlds are compared as the text draws them: markers under the robot are hidden, 9 is the largest number of them. */
function comparison(wanted, cells, robot, atTheEnd) {
  const glyph = (grid, one, row, column) => one.row === row && one.column === column ? `robot ${one.heading}` : grid[row][column] === WALL ? "wall" : Math.min(grid[row][column], 9);
  let differ = 0;
  wanted.cells.forEach((line, row) => line.forEach((_, column) => {
    differ += glyph(wanted.cells, wanted.state, row, column) !== glyph(cells, robot, row, column);
  }));
  const different = `${plural(differ, "cell")} ${differ === 1 ? "is" : "are"} different`;
  if (atTheEnd) return differ ? `✗ ${different} at the end.` : "✓ Reached at the end.";
  return differ ? `${capital(different)} so far.` : "The world looks like this now.";
}

function readingNote(statement, cells) {
  const {read: said} = statement, right = judged(statement);
  if (said.row === null) return "What it reads stands in the table.";
  if (said.row < 0 || said.column < 0 || said.row >= cells.length || said.column >= cells[0].length) return "It reads a position outside the grid.";
  const wrong = Object.values(right).filter(value => !value).length;
  return wrong ? `${wrong} of ${plural(Object.keys(right).length, "reading")} wrong.` : `All of ${plural(Object.keys(right).length, "reading")} right.`;
}

/* What signs mean, for the legend. */
function keys(sample, classed) {
  return [
    [sample(classed(triangle(.4, 0), "robot")), "the robot, pointing where it faces; a number counts the markers in a cell"],
    [sample(element("svg:circle", {class: "place right", r: .45}), classed(triangle(.3, 0), "heading right")), "read right: ring for the position, arrow for the heading, a bar where a wall is read ahead"],
    [sample(element("svg:circle", {class: "place wrong", r: .45}), classed(triangle(.3, 1), "heading wrong")), "read wrong: dashed ring, hollow arrow; small and grey: where the robot is. Walls are drawn for orientation, the probe sees none"],
  ];
}
