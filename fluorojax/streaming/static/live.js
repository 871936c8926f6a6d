"use strict";

const element = (id) => document.getElementById(id);
const shown = [];

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

function curve(id, values) {
  const canvas = element(id);
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  if (values.length < 2) return;
  const top = 1.1 * Math.max(...values) || 1;
  pen.strokeStyle = "#6cb6ff";
  pen.lineWidth = 2;
  pen.beginPath();
  values.forEach((value, i) => {
    const x = (i / (values.length - 1)) * (width - 4) + 2;
    const y = height - 4 - (value / top) * (height - 24);
    if (i === 0) pen.moveTo(x, y);
    else pen.lineTo(x, y);
  });
  pen.stroke();
  pen.fillStyle = "#a7b0b8";
  pen.font = "14px system-ui, sans-serif";
  pen.fillText(`top ${top.toPrecision(3)}, last ${values[values.length - 1].toPrecision(3)}`, 8, 16);
}

async function load(id, results) {
  const answer = await fetch(`/${id}.png?n=${results}`);
  if (!answer.ok) return;
  const address = URL.createObjectURL(await answer.blob());
  const image = element(id);
  const before = image.src;
  image.src = address;
  await image.decode().catch(() => {});
  if (before.startsWith("blob:")) URL.revokeObjectURL(before);
}

function show(facts) {
  element("title").textContent = facts.title;
  document.title = facts.title;
  element("frame").textContent = `${facts.frame}, ${facts.shape.join(" × ")} pixels`;
  element("latency").textContent = `${median(facts.latency).toFixed(1)} / ${Math.max(...facts.latency).toFixed(1)} ms`;
  element("noise").textContent = facts.noise[facts.noise.length - 1].toPrecision(3);
  element("drift").textContent = `${facts.drift.toFixed(3)} ± ${facts.drift_std.toFixed(3)} %/frame`;
  const now = performance.now();
  shown.push(now);
  while (shown.length > 2 && now - shown[0] > 3000) shown.shift();
  if (shown.length > 1) {
    element("rate").textContent = `${((1000 * (shown.length - 1)) / (now - shown[0])).toFixed(1)} frames/s`;
  }
  curve("latency-curve", facts.latency);
  curve("noise-curve", facts.noise);
  if (facts.events.length) {
    element("events").replaceChildren(
      ...facts.events.toReversed().map((text) => Object.assign(document.createElement("li"), { textContent: text })),
    );
  }
}

async function follow() {
  let results = 0;
  for (;;) {
    try {
      const facts = await (await fetch(`/facts?after=${results}`)).json();
      if (facts.results > results) {
        results = facts.results;
        await Promise.all([load("x", results), load("sd", results)]);
        show(facts);
      }
      element("status").textContent = facts.ended ? "The stream has ended" : results ? "Live" : "Waiting for the first frame";
      if (facts.ended) return;
    } catch {
      element("status").textContent = "The stream cannot be reached; it has ended or is busy";
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}

follow();
