// Two sequences one over the other, with a line between them that can be moved.

function startCompare(root, state, palettes) {
  const compare = root.querySelector(".compare");
  if (!compare) return;
  const [under, over] = compare.querySelectorAll("canvas");
  const box = compare.querySelector(".split");
  const line = compare.querySelector(".line");
  const slider = compare.querySelector('[data-control="split"]');
  const choice = compare.querySelector('[data-control="pair"]');
  const titles = compare.querySelectorAll("figcaption span");
  let painters = [];

  const moveLine = () => {
    over.style.clipPath = `inset(0 0 0 ${slider.value}%)`;
    line.style.left = `${slider.value}%`;
  };
  const choose = () => {
    const names = choice.value.split(" ");
    painters = [under, over].map((canvas, i) => makePainter(canvas, state, names[i], palettes));
    painters.forEach((paint) => paint());
    titles.forEach((title, i) => (title.textContent = state.movie.layers[names[i]].title));
  };
  const drag = (event) => {
    const edges = box.getBoundingClientRect();
    slider.value = clamp((100 * (event.clientX - edges.left)) / edges.width, 0, 100);
    moveLine();
  };
  box.addEventListener("pointerdown", (event) => {
    box.setPointerCapture(event.pointerId);
    drag(event);
  });
  box.addEventListener("pointermove", (event) => {
    if (box.hasPointerCapture(event.pointerId)) drag(event);
  });
  slider.addEventListener("input", moveLine);
  choice.addEventListener("change", choose);
  state.onChange((changed) => {
    if (changed.some((name) => SHOWN.includes(name))) painters.forEach((paint) => paint());
  });
  choose();
  moveLine();
}
