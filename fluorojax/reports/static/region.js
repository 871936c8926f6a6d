// The region of interest: its fields, and a table of means and standard deviations.

function startRegion(root, state) {
  const field = (name) => root.querySelector(`[data-control="${name}"]`);
  const names = ["top", "bottom", "left", "right"];
  const inputs = names.map(field);
  const table = root.querySelector(".region-table");
  const every = Array.from({ length: state.frames }, (_, frame) => frame);
  inputs.forEach((input, i) => (input.max = (i < 2 ? state.height : state.width) - 1));

  const digits = (value) => (Number.isFinite(value) ? value.toPrecision(4).replace("-", "−") : "–");
  const show = () => {
    inputs.forEach((input, i) => {
      if (document.activeElement !== input) input.value = state.region ? state.region[i] : "";
    });
    table.hidden = state.region === null;
    if (table.hidden) return;
    const rows = Object.entries(state.movie.layers).map(([name, layer]) => {
      const now = state.statistics(name, [state.frame]);
      const all = state.statistics(name, every);
      const row = document.createElement("tr");
      for (const text of [layer.title, digits(now.mean), digits(now.sd), digits(all.mean)]) {
        const cell = document.createElement("td");
        cell.textContent = text;
        row.append(cell);
      }
      return row;
    });
    table.tBodies[0].replaceChildren(...rows);
    table.tHead.rows[0].cells[0].textContent = `${state.statistics("estimate", [state.frame]).count} pixels, frame ${state.frameName(state.frame)}`;
  };
  const typed = () => {
    const values = inputs.map((input) => (input.value === "" ? NaN : Number(input.value)));
    if (values.every(Number.isFinite)) state.choose(values);
  };
  inputs.forEach((input) => input.addEventListener("input", typed));
  inputs.forEach((input) => input.addEventListener("blur", show));
  field("clear").addEventListener("click", () => state.choose(null));
  state.onChange((changed) => {
    if (changed.includes("region") || (state.region && changed.includes("frame"))) show();
  });
  show();
}
