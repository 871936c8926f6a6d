// Sequences from the page: base64 → deflate → planes of bytes → differences → values.

async function inflate(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function joinPlanes(bytes, depth) {
  if (depth === 1) return bytes;
  const count = bytes.length / 2;
  const levels = new Uint16Array(count);
  for (let i = 0; i < count; i++) levels[i] = bytes[i] | (bytes[count + i] << 8);
  return levels;
}

// Sums wrap around in the type of the array, as the differences did when they were written.
function undoDifferences(levels, [frames, height, width]) {
  const size = height * width;
  for (let row = 0; row < height; row++) {
    for (let i = row * width + 1; i < (row + 1) * width; i++) levels[i] += levels[i - 1];
  }
  for (let i = size; i < frames * size; i++) levels[i] += levels[i - size];
  return levels;
}

async function decodeLayer(layer, shape) {
  const levels = joinPlanes(await inflate(layer.data), layer.depth);
  if (levels.length !== shape[0] * shape[1] * shape[2]) throw new Error("a sequence does not have its size");
  if (layer.delta) undoDifferences(levels, shape);
  const values = new Float32Array(levels.length);
  for (let i = 0; i < levels.length; i++) {
    values[i] = levels[i] === 0 ? NaN : layer.low + (levels[i] - 1) * layer.step;
  }
  return { ...layer, data: null, values };
}

async function decodeMovie(text) {
  const movie = JSON.parse(text);
  const names = Object.keys(movie.layers);
  const layers = await Promise.all(names.map((name) => decodeLayer(movie.layers[name], movie.shape)));
  movie.layers = Object.fromEntries(names.map((name, i) => [name, layers[i]]));
  return movie;
}
