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
    zoom: 1,
    region: null, // first and last row, first and last column
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
    // The region between two corners, put in order and kept inside the image; null for none.
    choose(region) {
      if (region === null) return state.set({ region: null });
      const rows = [region[0], region[1]].map((row) => clamp(Math.round(row), 0, height - 1)).sort((a, b) => a - b);
      const columns = [region[2], region[3]].map((column) => clamp(Math.round(column), 0, width - 1)).sort((a, b) => a - b);
      state.set({ region: [...rows, ...columns] });
    },
    // Mean and standard deviation of the finite values of a layer over the region, in some frames.
    statistics(name, frames) {
      const [top, bottom, left, right] = state.region;
      const layer = movie.layers[name];
      let count = 0;
      let sum = 0;
      let squares = 0;
      for (const frame of frames) {
        for (let row = top; row <= bottom; row++) {
          for (let column = left; column <= right; column++) {
            const value = layer.values[(frame * height + row) * width + column];
            if (!Number.isFinite(value)) continue;
            count += 1;
            const step = value - sum / Math.max(count - 1, 1); // about the mean so far, which loses no digits
            sum += value;
            if (count > 1) squares += step * (value - sum / count);
          }
        }
      }
      return { count, mean: count ? sum / count : NaN, sd: count > 1 ? Math.sqrt(squares / (count - 1)) : NaN };
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
