// What is shown: every part of a player reads this and redraws when it changes.

const BAND = 1.645; // half width of a central 90 % interval of a Gaussian, in standard deviations

function makeState(movie) {
  const [frames, height, width] = movie.shape;
  const [low, high] = movie.window;
  const listeners = [];
  const state = {
    movie,
    frames,
    height,
    width,
    frame: 0,
    row: movie.start[0],
    column: movie.start[1],
    level: (low + high) / 2,
    window: high - low,
    playing: false,
    rate: 15,
    measured: false,
    onChange(listener) {
      listeners.push(listener);
    },
    set(changes) {
      const changed = Object.keys(changes).filter((name) => state[name] !== changes[name]);
      if (changed.length === 0) return;
      Object.assign(state, changes);
      for (const listener of listeners) listener(changed);
    },
    step(count) {
      state.set({ frame: (state.frame + count + frames) % frames });
    },
    pick(row, column) {
      state.set({ row: clamp(row, 0, height - 1), column: clamp(column, 0, width - 1) });
    },
    value(name, frame = state.frame) {
      const layer = movie.layers[name];
      return layer ? layer.values[(frame * height + state.row) * width + state.column] : NaN;
    },
    // The number of a frame, row or column in the file, of which the page may hold every second one or means of blocks.
    frameName: (frame) => String(frame * movie.stride),
    place(index) {
      const first = index * movie.block;
      return movie.block === 1 ? String(first) : `${first}–${first + movie.block - 1}`;
    },
  };
  return state;
}

function clamp(value, low, high) {
  return Math.min(Math.max(value, low), high);
}

function write(value) {
  return Number.isFinite(value) ? value.toFixed(3).replace("-", "−") : "–";
}
