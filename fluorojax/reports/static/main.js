// Every player starts when it comes near the screen, so that a page of many scenes opens at once.

async function startPlayer(root, palettes) {
  const still = root.closest("section").querySelector(".still");
  const source = root.querySelector("script.movie");
  try {
    const movie = await decodeMovie(source.textContent);
    source.remove();
    root.hidden = false; // sizes are known only once it is laid out
    const state = makeState(movie);
    startPanels(root, state, palettes);
    startControls(root, state);
    startCurve(root, state);
    startCompare(root, state, palettes);
    startRegion(root, state);
    startSave(root, state);
    root.dataset.state = "ready";
    if (still) still.classList.add("only-print");
  } catch (error) {
    root.hidden = true;
    const note = root.closest("section").querySelector(".no-player");
    note.hidden = false;
    note.textContent = `The player cannot run in this browser (${error.message}); frames are shown instead.`;
  }
}

function startReport() {
  const palettes = readPalettes();
  const near = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        near.unobserve(entry.target);
        startPlayer(entry.target.querySelector(".player"), palettes);
      }
    },
    { rootMargin: "800px" },
  );
  for (const player of document.querySelectorAll(".player")) near.observe(player.closest("section"));
}

startReport();
