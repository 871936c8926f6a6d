// Play, scrub, frame rate, window and level.

function startControls(root, state) {
  const field = (name) => root.querySelector(`[data-control="${name}"]`);
  const play = field("play"); // a single frame has neither this nor frame and rate
  const note = (input, text) => {
    input.parentElement.querySelector("output").textContent = text;
    input.setAttribute("aria-valuetext", text);
  };

  const { movie } = state;
  const names = ["frame", "rate", "level", "window", "zoom"].filter((name) => field(name));
  const inputs = Object.fromEntries(names.map((name) => [name, field(name)]));
  const [low, high] = movie.window;
  const initial = { level: state.level, window: state.window };
  if (play) inputs.frame.max = state.frames - 1;
  const range = high - low;
  Object.assign(inputs.level, { min: low - range / 2, max: high + range / 2, step: range / 200 });
  Object.assign(inputs.window, { min: range / 50, max: 2 * range, step: range / 200 });
  const real = movie.frameTime ? 1000 / (movie.frameTime * movie.stride) : 0;
  state.rate = real ? clamp(Math.round(real), 1, 60) : state.rate;

  const show = () => {
    for (const [name, input] of Object.entries(inputs)) input.value = state[name];
    if (play) {
      play.textContent = state.playing ? "Pause" : "Play";
      note(inputs.frame, `${state.frameName(state.frame)} of 0–${state.frameName(state.frames - 1)}`);
      note(inputs.rate, real ? `${state.rate}/s, real time × ${(state.rate / real).toFixed(2)}` : `${state.rate}/s`);
    }
    note(inputs.level, write(state.level));
    note(inputs.window, write(state.window));
    note(inputs.zoom, `× ${state.zoom}`);
    const ends = [state.level - state.window / 2, state.level + state.window / 2];
    root.querySelectorAll(".image-scale output").forEach((output, i) => (output.textContent = write(ends[i])));
  };
  for (const [name, input] of Object.entries(inputs)) {
    input.addEventListener("input", () => state.set({ [name]: Number(input.value) }));
  }
  if (play) {
    inputs.frame.addEventListener("input", () => state.set({ playing: false }));
    play.addEventListener("click", () => state.set({ playing: !state.playing }));
  }
  field("reset").addEventListener("click", () => state.set(initial));

  let due = 0;
  const tick = (now) => {
    if (!state.playing) return;
    const period = 1000 / state.rate;
    if (now - due > 1000) due = now; // after a pause, or a while in the background
    const steps = Math.floor((now - due) / period);
    if (steps > 0) {
      due += steps * period;
      state.step(steps);
    }
    requestAnimationFrame(tick);
  };
  state.onChange((changed) => {
    if (changed.includes("playing") && state.playing) {
      due = performance.now();
      requestAnimationFrame(tick);
    }
    show();
  });
  show();
}
