// The chosen pixel over time: estimate with its 90 % band, truth, measurement, and the frame that is shown.

const SVG = "http://www.w3.org/2000/svg";

function element(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function ticks(low, high, most) {
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const first = Math.ceil(low / step);
  const last = Math.floor(high / step + 1e-9);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step).map((value) => ({
    value,
    text: value.toFixed(digits).replace("-", "−"),
  }));
}

function readCurves(state) {
  const read = (name) => Array.from({ length: state.frames }, (_, frame) => state.value(name, frame));
  const estimate = read("estimate");
  const spread = read("spread");
  const curves = {
    estimate,
    low: estimate.map((value, i) => value - BAND * spread[i]),
    high: estimate.map((value, i) => value + BAND * spread[i]),
    truth: read("truth"),
  };
  if (state.measured) curves.measured = read("measured");
  return curves;
}

// Path through the points that are known; what is not known interrupts it.
function path(points) {
  let pen = "M";
  let text = "";
  for (const [x, y] of points) {
    if (Number.isFinite(y)) {
      text += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
    } else pen = "M";
  }
  return text;
}

function drawCurve(box, state) {
  const curves = readCurves(state);
  const known = Object.values(curves).flat().filter(Number.isFinite);
  const width = Math.max(box.clientWidth, 240);
  const height = 260;
  const edge = { left: 58, right: 12, top: 12, bottom: 42 };
  let [low, high] = known.length ? [Math.min(...known), Math.max(...known)] : [0, 1];
  const room = 0.06 * (high - low) || 0.01;
  [low, high] = [low - room, high + room];
  const last = Math.max(state.frames - 1, 1);
  const across = width - edge.left - edge.right;
  const x = (frame) => edge.left + (state.frames === 1 ? across / 2 : (frame / last) * across);
  const y = (value) => height - edge.bottom - ((value - low) / (high - low)) * (height - edge.top - edge.bottom);
  const points = (values) => values.map((value, frame) => [x(frame), y(value)]);

  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", class: "plot" });
  svg.append(element("title", {}, `Attenuation over time in row ${state.place(state.row)}, column ${state.place(state.column)}`));
  for (const { value, text } of ticks(low, high, 5)) {
    svg.append(element("line", { x1: edge.left, x2: width - edge.right, y1: y(value), y2: y(value), class: "grid" }));
    svg.append(element("text", { x: edge.left - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  }
  const every = Math.ceil(state.frames / Math.floor(across / 44));
  for (let frame = 0; frame < state.frames; frame += every) {
    svg.append(element("text", { x: x(frame), y: height - edge.bottom + 16, "text-anchor": "middle" }, state.frameName(frame)));
  }
  const time = state.movie.frameTime ? ` (${state.movie.frameTime.toFixed(1)} ms each)` : "";
  svg.append(element("text", { x: edge.left + across / 2, y: height - 6, "text-anchor": "middle" }, `frame${time}`));
  const middle = (edge.top + height - edge.bottom) / 2;
  const turned = { transform: `translate(14 ${middle}) rotate(-90)`, "text-anchor": "middle" };
  svg.append(element("text", turned, "attenuation x"));

  const cursor = { x1: x(state.frame), x2: x(state.frame), y1: edge.top, y2: height - edge.bottom, class: "cursor" };
  svg.append(element("line", cursor));
  const band = curves.low.every(Number.isFinite);
  if (band && state.frames === 1) {
    svg.append(element("line", { x1: x(0), x2: x(0), y1: y(curves.low[0]), y2: y(curves.high[0]), class: "bar" }));
  } else if (band) {
    const outline = [...points(curves.high), ...points(curves.low).reverse()];
    svg.append(element("path", { d: `${path(outline)}Z`, class: "band" }));
  }
  for (const [px, py] of curves.measured ? points(curves.measured) : []) {
    if (Number.isFinite(py)) svg.append(element("circle", { cx: px, cy: py, r: 2.5, class: "measured" }));
  }
  svg.append(element("path", { d: path(points(curves.truth)), class: "truth" }));
  svg.append(element("path", { d: path(points(curves.estimate)), class: "estimate" }));
  for (const [name, radius] of [["estimate", 3.5], ["truth", 3]]) {
    const value = curves[name][state.frame];
    if (Number.isFinite(value)) svg.append(element("circle", { cx: x(state.frame), cy: y(value), r: radius, class: `${name} now` }));
  }
  svg.addEventListener("click", (event) => {
    const edges = svg.getBoundingClientRect();
    const place = ((event.clientX - edges.left) / edges.width) * width;
    state.set({ frame: clamp(Math.round(((place - edge.left) / across) * last), 0, state.frames - 1), playing: false });
  });
  box.replaceChildren(svg);
}

function startCurve(root, state) {
  const box = root.querySelector(".curve");
  const readout = root.querySelector(".readout");
  const row = root.querySelector('[data-control="row"]');
  const column = root.querySelector('[data-control="column"]');
  const measured = root.querySelector('[data-control="measured"]');
  row.max = state.height - 1;
  column.max = state.width - 1;

  const show = () => {
    const estimate = state.value("estimate");
    const spread = state.value("spread");
    const parts = [`Frame ${state.frameName(state.frame)}, row ${state.place(state.row)}, column ${state.place(state.column)}: x̂ = ${write(estimate)}`];
    if (Number.isFinite(spread)) {
      parts.push(`sd ${spread.toPrecision(2)}, 90 % interval ${write(estimate - BAND * spread)} … ${write(estimate + BAND * spread)}`);
    }
    for (const [name, title] of [["zscore", "z-score"], ["residual", "residual"]]) {
      if (state.movie.layers[name]) parts.push(`${title} ${write(state.value(name))}`);
    }
    if (state.movie.layers.truth) parts.push(`truth ${write(state.value("truth"))}`);
    if (state.movie.layers.measured) parts.push(`measured ${write(state.value("measured"))}`);
    readout.textContent = parts.join("; ");
    readout.setAttribute("aria-live", state.playing ? "off" : "polite");
    if (document.activeElement !== row) row.value = state.row;
    if (document.activeElement !== column) column.value = state.column;
    drawCurve(box, state);
  };
  const pick = () => {
    if (row.value !== "" && column.value !== "") state.pick(Math.round(Number(row.value)), Math.round(Number(column.value)));
  };
  row.addEventListener("input", pick);
  column.addEventListener("input", pick);
  row.addEventListener("blur", show);
  column.addEventListener("blur", show);
  if (measured) measured.addEventListener("change", () => state.set({ measured: measured.checked }));
  let drawn = 0;
  new ResizeObserver(() => {
    if (box.clientWidth !== drawn) {
      drawn = box.clientWidth;
      drawCurve(box, state);
    }
  }).observe(box);
  state.onChange(show);
  show();
}
