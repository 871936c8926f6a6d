// Images: a palette, a canvas for each sequence, the mark of the chosen pixel, the keyboard.

function readPalettes() {
  const text = document.getElementById("palettes").textContent;
  const bytes = Object.entries(JSON.parse(text)).map(([kind, colours]) => [
    kind,
    Uint8Array.from(atob(colours), (letter) => letter.charCodeAt(0)),
  ]);
  return Object.fromEntries(bytes);
}

function makePainter(canvas, state, name, palettes) {
  const { movie, width, height } = state;
  const layer = movie.layers[name];
  const palette = palettes[layer.kind];
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  return () => {
    const ends = {
      image: [state.level - state.window / 2, state.window],
      spread: [0, movie.spreadMax],
      signed: [-movie.signedMax, 2 * movie.signedMax],
    };
    const [low, extent] = ends[layer.kind];
    const scale = 255 / extent;
    const start = state.frame * width * height;
    for (let i = 0, j = 0; i < width * height; i++, j += 4) {
      const value = layer.values[start + i];
      const index = 3 * clamp(Math.round((value - low) * scale), 0, 255);
      const known = value === value; // NaN is left transparent
      picture.data[j] = known ? palette[index] : 0;
      picture.data[j + 1] = known ? palette[index + 1] : 0;
      picture.data[j + 2] = known ? palette[index + 2] : 0;
      picture.data[j + 3] = known ? 255 : 0;
    }
    context.putImageData(picture, 0, 0);
  };
}

const SHOWN = ["frame", "level", "window"];
const PLACED = ["row", "column", "zoom", "region", "held"];

// A click chooses a pixel, a drag a region.
function startPointer(canvas, state) {
  let start = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * state.height);
    const column = Math.floor(((event.clientX - box.left) / box.width) * state.width);
    return { row, column, x: event.clientX, y: event.clientY };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    start = { ...place(event), dragged: false };
    state.held = true; // the view stays where it is while a region is drawn
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (start === null) return;
    const now = place(event);
    if (Math.hypot(now.x - start.x, now.y - start.y) > 4) start.dragged = true;
    if (start.dragged) state.choose([start.row, now.row, start.column, now.column]);
  });
  const end = (event) => {
    if (start === null) return;
    const { row, column, dragged } = start;
    start = null;
    state.held = false;
    if (!dragged && event.type === "pointerup") state.pick(row, column);
  };
  canvas.addEventListener("pointerup", end);
  canvas.addEventListener("pointercancel", end);
}

function startPanels(root, state, palettes) {
  const panels = root.querySelector(".panels");
  const painters = [];
  const marks = [];
  const areas = [];
  const canvases = [];
  for (const panel of panels.querySelectorAll("[data-layer]")) {
    const canvas = panel.querySelector("canvas");
    painters.push(makePainter(canvas, state, panel.dataset.layer, palettes));
    marks.push(panel.querySelector(".mark"));
    areas.push(panel.querySelector(".area"));
    canvases.push(canvas);
    startPointer(canvas, state);
  }
  // What is seen of the image: its part around the chosen pixel, as shares of width and height.
  const view = () => {
    const size = 1 / state.zoom;
    const from = (place, count) => clamp((place + 0.5) / count - size / 2, 0, 1 - size);
    return { top: from(state.row, state.height), left: from(state.column, state.width), size };
  };
  const across = (share, start, size) => `${(100 * (share - start)) / size}%`;
  const zoom = () => {
    if (!state.held) state.view = view();
    const { top, left, size } = state.view;
    for (const canvas of canvases) {
      canvas.style.transform = state.zoom === 1 ? "" : `scale(${state.zoom}) translate(${-100 * left}%, ${-100 * top}%)`;
    }
    for (const area of areas) {
      area.hidden = state.region === null;
      if (area.hidden) continue;
      const [first, last, start, end] = state.region;
      area.style.top = across(first / state.height, top, size);
      area.style.left = across(start / state.width, left, size);
      area.style.height = `${(100 * (last + 1 - first)) / state.height / size}%`;
      area.style.width = `${(100 * (end + 1 - start)) / state.width / size}%`;
    }
  };
  const moveMarks = () => {
    zoom();
    const { top, left, size } = state.view;
    for (const mark of marks) {
      mark.style.top = across((state.row + 0.5) / state.height, top, size);
      mark.style.left = across((state.column + 0.5) / state.width, left, size);
    }
  };
  state.onChange((changed) => {
    if (changed.some((name) => SHOWN.includes(name))) painters.forEach((paint) => paint());
    if (changed.some((name) => PLACED.includes(name))) moveMarks();
  });
  panels.addEventListener("keydown", (event) => {
    const far = event.shiftKey ? 10 : 1;
    const moves = {
      ArrowUp: () => state.pick(state.row - far, state.column),
      ArrowDown: () => state.pick(state.row + far, state.column),
      ArrowLeft: () => state.pick(state.row, state.column - far),
      ArrowRight: () => state.pick(state.row, state.column + far),
      " ": () => state.set({ playing: !state.playing && state.frames > 1 }),
      ",": () => state.step(-1),
      ".": () => state.step(1),
      "+": () => state.set({ zoom: clamp(state.zoom + 0.5, 1, 8) }),
      "-": () => state.set({ zoom: clamp(state.zoom - 0.5, 1, 8) }),
    };
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    move();
  });
  painters.forEach((paint) => paint());
  moveMarks();
}
