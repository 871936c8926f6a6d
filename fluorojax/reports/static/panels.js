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
    const spread = layer.kind === "spread";
    const low = spread ? 0 : state.level - state.window / 2;
    const scale = 255 / (spread ? movie.spreadMax : state.window);
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

function startPanels(root, state, palettes) {
  const panels = root.querySelector(".panels");
  const painters = [];
  const marks = [];
  for (const panel of panels.querySelectorAll("[data-layer]")) {
    const canvas = panel.querySelector("canvas");
    painters.push(makePainter(canvas, state, panel.dataset.layer, palettes));
    marks.push(panel.querySelector(".mark"));
    canvas.addEventListener("click", (event) => {
      const box = canvas.getBoundingClientRect();
      const row = Math.floor(((event.clientY - box.top) / box.height) * state.height);
      const column = Math.floor(((event.clientX - box.left) / box.width) * state.width);
      state.pick(row, column);
    });
  }
  const moveMarks = () => {
    for (const mark of marks) {
      mark.style.top = `${(100 * (state.row + 0.5)) / state.height}%`;
      mark.style.left = `${(100 * (state.column + 0.5)) / state.width}%`;
    }
  };
  state.onChange((changed) => {
    if (changed.some((name) => SHOWN.includes(name))) painters.forEach((paint) => paint());
    if (changed.includes("row") || changed.includes("column")) moveMarks();
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
    };
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    move();
  });
  painters.forEach((paint) => paint());
  moveMarks();
}
