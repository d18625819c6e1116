/* What the pages have in common: the data inside them, elements, numbers in words, and the slider over training.
   A page says which `checkpoints` there are, and as `state.step` the number of the one that is shown. */

const data = JSON.parse(document.getElementById("data").textContent);

const $ = id => document.getElementById(id);
const number = value => value.toLocaleString("en-US");
const percent = (share, digits = 0) => (100 * share).toFixed(digits) + " %";
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

function element(tag, attributes = {}, ...children) {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children.filter(child => child !== null));
  return made;
}

const capital = text => text[0].toUpperCase() + text.slice(1);

const named = (names, values) => values && Object.fromEntries(values.map((value, index) => [names[index], value]));

function bar(share) {
  const inner = element("i");
  inner.style.width = `${100 * share}%`;
  return element("span", {class: "bar", "aria-hidden": "true"}, inner);
}

/* Buttons by id, and whether they have nothing to do. Not `disabled`, which would take the focus and the keys away. */
function switchOff(buttons) {
  for (const [id, off] of Object.entries(buttons)) $(id).setAttribute("aria-disabled", off);
}

function drawStep() {
  const {step, generative_accuracy: accuracy} = checkpoints[state.step];
  $("step").value = state.step;
  $("step").setAttribute("aria-valuetext", `step ${step}, generative accuracy ${percent(accuracy, 1)}`);
  switchOff({"step-back": state.step === 0, "step-on": state.step === checkpoints.length - 1});
  $("step-said").textContent = `${number(step)} · generative accuracy ${percent(accuracy, 1)} of ${number(data.n_test)}`;
  for (const point of $("curve").querySelectorAll(".point")) point.classList.toggle("now", Number(point.dataset.at) === state.step);
}

function drawCurve() {
  const box = $("curve").getBoundingClientRect(), thumb = 16, bottom = box.height - 4, last = Math.max(1, checkpoints.length - 1);
  const x = at => thumb / 2 + at / last * (box.width - thumb), y = share => bottom - share * (bottom - 6);
  $("curve").setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
  $("curve").setAttribute("aria-label", "Generative accuracy at each checkpoint, from 0 to 100 %");
  const level = share => element("svg:line", {class: "level", x1: 0, x2: box.width, y1: y(share), y2: y(share)});
  $("curve").replaceChildren(level(0), level(1),
    element("svg:polyline", {class: "curve", points: checkpoints.map((one, at) => `${x(at)},${y(one.generative_accuracy)}`).join(" ")}),
    ...checkpoints.map((one, at) => element("svg:circle", {class: "point" + (at === state.step ? " now" : ""), "data-at": at, r: at === state.step ? 4 : 2.5, cx: x(at), cy: y(one.generative_accuracy)})));
}
