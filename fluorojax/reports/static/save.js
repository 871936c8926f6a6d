// What is seen of the images as a PNG file: the part that is zoomed to, in the window that is set, side by side.

function drawSeen(root, state) {
  const panels = [...root.querySelectorAll(".panels [data-layer]")];
  const { top, left, size } = state.view;
  const [width, height] = [state.width * size, state.height * size];
  const factor = Math.max(1, Math.round(360 / Math.max(width, height))); // whole, so that pixels stay squares
  const [wide, high, gap, text] = [Math.round(width * factor), Math.round(height * factor), 8, 22];
  const canvas = document.createElement("canvas");
  canvas.width = panels.length * (wide + gap) - gap;
  canvas.height = high + text;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingEnabled = false;
  context.font = "13px sans-serif";
  panels.forEach((panel, i) => {
    const start = i * (wide + gap);
    const source = panel.querySelector("canvas");
    context.drawImage(source, left * state.width, top * state.height, width, height, start, 0, wide, high);
    if (state.region) {
      const [first, last, begin, end] = state.region;
      context.save();
      context.beginPath();
      context.rect(start, 0, wide, high);
      context.clip();
      context.strokeStyle = "#ffd400";
      context.lineWidth = 2;
      const x = start + (begin - left * state.width) * factor;
      const y = (first - top * state.height) * factor;
      context.strokeRect(x, y, (end + 1 - begin) * factor, (last + 1 - first) * factor);
      context.restore();
    }
    context.fillStyle = "#000";
    context.fillText(panel.querySelector("figcaption").textContent, start, high + 16, wide);
  });
  return canvas;
}

function startSave(root, state) {
  const name = root.closest("section").id;
  root.querySelector('[data-control="save"]').addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = drawSeen(root, state).toDataURL("image/png");
    link.download = `${name}-frame-${state.frameName(state.frame)}.png`;
    link.click();
  });
}
