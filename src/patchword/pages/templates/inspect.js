// What a patch attends to: maps are unpacked when they are asked for, and drawn over the picture.

const FAR = 1; // cells away that still count as near,
const COARSE = 5; // on a grid of at least so many a side

async function unpacked(text, Kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Kind(await new Response(stream).arrayBuffer());
}

const places = (side) => side.prefix.length + side.rows * side.columns;

async function unpack(layer) {
  const data = await unpacked(layer.data, Uint8Array);
  const kept = { ...layer, data, across: layer.size ?? places(layer.keys) };
  if (layer.members) {
    kept.window = await unpacked(layer.window, Int32Array);
    kept.members = await unpacked(layer.members, Int32Array);
  }
  return kept;
}

// What a query takes from each place, in shares: by one head, or by the mean of all where it is -1.
function shares(layer, head, query) {
  const found = new Float32Array(places(layer.keys));
  const heads = head < 0 ? [...Array(layer.heads).keys()] : [head];
  for (const each of heads) {
    const start = (each * places(layer.queries) + query) * layer.across;
    const row = layer.data.subarray(start, start + layer.across);
    const sum = row.reduce((a, b) => a + b, 0) || 1;
    const members = layer.members ? layer.window[query] * layer.across : 0;
    row.forEach((value, i) => {
      const place = layer.members ? layer.members[members + i] : i;
      if (place >= 0) found[place] += value / sum / heads.length;
    });
  }
  return found;
}

function palette(stops) {
  const colours = stops.map((stop) =>
    [1, 3, 5, 7].map((at) => parseInt(stop.slice(at, at + 2) || "ff", 16)),
  );
  return Array.from({ length: 256 }, (_, level) => {
    const at = (level / 255) * (colours.length - 1);
    const low = Math.min(Math.floor(at), colours.length - 2);
    return colours[low].map((value, i) => value + (at - low) * (colours[low + 1][i] - value));
  });
}

function paint(canvas, layer, found, colours) {
  const { rows, columns, prefix } = layer.keys;
  const cells = found.subarray(prefix.length);
  canvas.width = columns;
  canvas.height = rows;
  const most = cells.reduce((a, b) => Math.max(a, b), 1e-12);
  const image = new ImageData(columns, rows);
  cells.forEach((value, i) => image.data.set(colours[Math.round((255 * value) / most)], 4 * i));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const inPercent = (share) => `${(100 * share).toFixed(1)} %`;
const spot = (side, cell) =>
  `row ${Math.floor(cell / side.columns) + 1}, column ${(cell % side.columns) + 1}`;

// Say in words what the map shows: how much stays near, where most goes, what tokens get.
function told(layer, found, asked, cell) {
  const side = layer.keys;
  const even = inPercent(1 / layer.across);
  const cells = [...found.subarray(side.prefix.length)];
  const best = cells.indexOf(Math.max(...cells));
  const parts = [`most on ${spot(side, best)} (${inPercent(cells[best])}, where even is ${even})`];
  if (cell !== null && Math.min(side.rows, side.columns) >= COARSE) {
    const row = Math.floor(((cell.row + 0.5) / layer.queries.rows) * side.rows);
    const column = Math.floor(((cell.column + 0.5) / layer.queries.columns) * side.columns);
    const near = cells.reduce((sum, value, i) => {
      const down = Math.abs(Math.floor(i / side.columns) - row);
      const along = Math.abs((i % side.columns) - column);
      return Math.max(down, along) <= FAR ? sum + value : sum;
    }, 0);
    parts.unshift(`${inPercent(near)} on itself and the patches around it`);
  }
  side.prefix.forEach((name, i) => parts.push(`${inPercent(found[i])} on the ${name}`));
  return `${asked}: ${parts.join("; ")}.`;
}

function option(group, name, value, words, canvas) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type: "radio", name, value });
  const span = document.createElement("span");
  span.textContent = words;
  label.append(input, ...(canvas ? [canvas] : []), span);
  group.append(label);
  return input;
}

function check(group, value) {
  for (const input of group.querySelectorAll("input")) input.checked = input.value === String(value);
}

function viewer(root, place, others) {
  const { pictures } = JSON.parse(document.getElementById(root.dataset.view).textContent);
  const colours = palette(root.dataset.heat.split(" "));
  const find = (selector) => root.querySelector(selector);
  const stage = find(".stage");
  const [choice, asked, films, heads] = [".choice", ".asked", ".layers", ".of-heads"].map(find);
  const state = { picture: 0, layer: 0, head: -1, token: -1, x: 0.5, y: 0.5 };
  const unpackedLayers = new Map(); // of the picture that is shown
  let layers = [];

  const query = (layer) => {
    const { rows, columns, prefix } = layer.queries;
    const name = state.token < 0 ? null : names()[state.token];
    if (name !== null) return { at: prefix.indexOf(name), cell: null, words: `The ${name}` };
    if (!rows) return { at: -1, cell: null, words: "" };
    const cell = {
      row: Math.min(Math.floor(state.y * rows), rows - 1),
      column: Math.min(Math.floor(state.x * columns), columns - 1),
    };
    const index = cell.row * columns + cell.column;
    return { at: prefix.length + index, cell, words: `Patch in ${spot(layer.queries, index)}` };
  };
  const names = () => [...new Set(layers.flatMap((layer) => layer.queries.prefix))];

  function film(group, count, canvasOf) {
    const labels = [...group.querySelectorAll("label")];
    for (let i = 0; i < count; i += 1) canvasOf(i, labels[i].querySelector("canvas"));
  }
  const blank = (canvas) => { canvas.width = 1; canvas.height = 1; };
  function draw(canvas, layer, head) {
    const { at } = query(layer);
    if (at < 0) return blank(canvas);
    return paint(canvas, layer, shares(layer, head, at), colours);
  }

  function show() {
    const layer = layers[state.layer];
    const { at, cell, words } = query(layer);
    const mark = find(".mark");
    mark.hidden = cell === null;
    if (cell) {
      const { rows, columns } = layer.queries;
      mark.style.inset = `${(100 * cell.row) / rows}% ${100 - (100 * (cell.column + 1)) / columns}% ` +
        `${100 - (100 * (cell.row + 1)) / rows}% ${(100 * cell.column) / columns}%`;
    }
    draw(find(".stage canvas"), layer, state.head);
    const which = state.head < 0 ? "mean of the heads" : `head ${state.head + 1}`;
    const title = `${layer.name}, ${which}. `;
    find(".said").textContent = at < 0
      ? `${title}Here ${state.token < 0 ? "no patch" : `no ${names()[state.token]}`} asks: pick another layer.`
      : title + told(layer, shares(layer, state.head, at), words, cell);
    film(films, layers.length, (i, canvas) => draw(canvas, layers[i], -1));
    film(heads, layer.heads > 1 ? layer.heads + 1 : 0, (i, canvas) => draw(canvas, layer, i - 1));
    check(films, state.layer);
    check(heads, state.head);
    check(asked, state.token);
    Object.assign(root.dataset, state);
  }

  function listHeads() {
    heads.querySelectorAll("label").forEach((label) => label.remove());
    const { heads: count } = layers[state.layer];
    heads.hidden = count < 2;
    if (state.head >= count) state.head = -1;
    for (let i = -1; count > 1 && i < count; i += 1) {
      option(heads, `head-${place}`, i, i < 0 ? "mean" : i + 1, document.createElement("canvas"));
    }
  }

  function list() {
    for (const group of [films, asked]) group.querySelectorAll("label").forEach((e) => e.remove());
    layers.forEach((layer, i) =>
      option(films, `layer-${place}`, i, layer.name, document.createElement("canvas")));
    ["patch", ...names()].forEach((name, i) => option(asked, `asked-${place}`, i - 1, name));
    asked.hidden = !names().length;
    listHeads();
  }

  async function open(index) {
    const picture = pictures[index];
    if (!unpackedLayers.has(index)) unpackedLayers.clear();
    const found = unpackedLayers.get(index) ?? (await Promise.all(picture.layers.map(unpack)));
    unpackedLayers.set(index, found);
    const before = layers.length;
    layers = found;
    Object.assign(state, { picture: index, layer: before ? state.layer : found.length - 1 });
    const image = find(".stage img");
    image.src = picture.picture;
    image.alt = picture.title;
    image.className = picture.sharp ? "exact" : "";
    stage.style.aspectRatio = `${picture.width} / ${picture.height}`;
    find(".verdict").textContent = `${picture.title}. ${picture.answer}`;
    find(".verdict").dataset.verdict = picture.verdict;
    find(".kept").textContent = picture.exact
      ? "Every patch and head of this picture is kept, in 255ths of each row's greatest share."
      : "Of this picture neighbouring patches are pooled" +
        (found[0].heads > 1 ? "." : ", and heads averaged; the first one is kept whole.");
    check(choice, index);
    list();
    show();
  }

  function pick(changes, { follow = true } = {}) {
    const { layer } = state;
    Object.assign(state, changes);
    if (state.token >= names().length) state.token = -1;
    if (state.layer !== layer) listHeads();
    show();
    if (!follow) return;
    const { x, y, token } = state;
    for (const other of others) if (other !== self) other.pick({ x, y, token }, { follow: false });
  }

  function move(down, along) {
    const { rows, columns } = layers[state.layer].queries;
    if (!rows) return;
    const at = (share, step, count) =>
      (Math.max(0, Math.min(count - 1, Math.floor(share * count) + step)) + 0.5) / count;
    pick({ token: -1, y: at(state.y, down, rows), x: at(state.x, along, columns) });
  }
  const turn = (step) => {
    const layer = Math.max(0, Math.min(layers.length - 1, state.layer + step));
    pick({ layer }, { follow: false });
  };

  const point = (event) => {
    const box = stage.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width;
    const y = (event.clientY - box.top) / box.height;
    if (x >= 0 && x < 1 && y >= 0 && y < 1) pick({ token: -1, x, y });
  };
  stage.addEventListener("pointermove", point);
  stage.addEventListener("pointerdown", point);
  const keys = {
    ArrowUp: () => move(-1, 0),
    ArrowDown: () => move(1, 0),
    ArrowLeft: () => move(0, -1),
    ArrowRight: () => move(0, 1),
    PageUp: () => turn(-1),
    PageDown: () => turn(1),
    Home: () => names().length && pick({ token: 0 }),
  };
  stage.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  choice.addEventListener("change", (event) => {
    const index = Number(event.target.value);
    open(index);
    for (const other of others) if (other !== self) other.open(index);
  });
  films.addEventListener("change", (event) => pick({ layer: Number(event.target.value) }, { follow: false }));
  heads.addEventListener("change", (event) => pick({ head: Number(event.target.value) }, { follow: false }));
  asked.addEventListener("change", (event) => pick({ token: Number(event.target.value) }));
  const self = { open: (index) => (pictures[index] ? open(index) : null), pick };
  others.push(self);
  root.hidden = false;
  return open(0);
}

// Points of a plane are read by pointer and keys: each says where it is, in shares of the plane.
function scatter(figure) {
  const points = [...figure.querySelectorAll("[data-at]")];
  const places = points.map((point) => point.dataset.at.split(" ").map(Number));
  const plane = figure.querySelector("svg");
  const said = figure.querySelector(".at");
  const seen = new Image();
  seen.alt = "";
  let at = -1;
  const show = (index) => {
    points[at]?.classList.remove("picked");
    at = (index + points.length) % points.length;
    points[at].classList.add("picked");
    said.textContent = points[at].querySelector("title").textContent;
    const { picture, sharp } = points[at].dataset;
    if (picture) {
      Object.assign(seen, { src: picture, className: `seen ${sharp}` });
      figure.querySelector(".reading").prepend(seen);
    } else {
      seen.remove();
    }
  };
  const nearest = (event) => {
    const box = plane.getBoundingClientRect();
    const x = event.clientX - box.left;
    const y = event.clientY - box.top;
    const away = places.map(([a, b]) => (a * box.width - x) ** 2 + (b * box.height - y) ** 2);
    show(away.indexOf(Math.min(...away)));
  };
  plane.addEventListener("pointermove", nearest);
  plane.addEventListener("pointerdown", nearest);
  plane.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(at + step);
  });
  plane.setAttribute("tabindex", 0);
}

addEventListener("DOMContentLoaded", () => {
  const together = [];
  document.querySelectorAll(".viewer").forEach((root, i) => viewer(root, i, together));
  document.querySelectorAll(".scatter, .dots").forEach(scatter);
});
