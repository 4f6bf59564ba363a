// The live picture of the page "The duality": a matrix of embeddings, both products, and the theorem.

function startDuality() {
  const root = document.getElementById("duality");
  if (!root || root.dataset.started) return;
  root.dataset.started = true;
  root.innerHTML = `
    <p>
      <label>images N <input type="range" name="n" min="2" max="40" value="24"> <b id="d-n"></b></label>
      <label>dimensions M <input type="range" name="m" min="2" max="40" value="12"> <b id="d-m"></b></label>
    </p>
    <p>
      <button class="md-button" name="new">other embeddings</button>
      <button class="md-button" name="collapse">collapse them</button>
      <button class="md-button" name="samples">minimize L<sub>c</sub></button>
      <button class="md-button" name="dimensions">minimize L<sub>nc</sub></button>
    </p>
    <div id="d-pictures" style="display:flex; flex-wrap:wrap; gap:1.5em">
      <figure style="margin:0"><figcaption>K: a row is an image</figcaption><canvas></canvas></figure>
      <figure style="margin:0"><figcaption>K Kᵀ: samples</figcaption><canvas></canvas></figure>
      <figure style="margin:0"><figcaption>Kᵀ K: dimensions</figcaption><canvas></canvas></figure>
    </div>
    <table><thead><tr><th></th><th>off the diagonal</th><th>norms⁴</th><th>sum</th></tr></thead>
      <tbody><tr><td>samples</td><td></td><td></td><td></td></tr>
      <tr><td>dimensions</td><td></td><td></td><td></td></tr></tbody></table>`;
  const input = (name) => root.querySelector(`[name=${name}]`);
  const canvases = root.querySelectorAll("canvas");
  const cells = root.querySelectorAll("tbody td");
  let k = [];
  let timer = null;

  const transpose = (a) => a[0].map((_, j) => a.map((row) => row[j]));
  const product = (a, b) => {
    const columns = transpose(b);
    return a.map((row) => columns.map((c) => row.reduce((sum, x, i) => sum + x * c[i], 0)));
  };
  const unit = (row) => {
    const norm = Math.hypot(...row) || 1;
    return row.map((x) => x / norm);
  };
  const withoutDiagonal = (a) => a.map((row, i) => row.map((x, j) => (i === j ? 0 : x)));
  const energy = (a) => a.flat().reduce((sum, x) => sum + x * x, 0);
  // A sum of two uniform numbers is close enough to a normal one for a picture.
  const random = () => Math.random() - Math.random();

  function draw(canvas, matrix) {
    const size = Math.max(3, Math.floor(200 / Math.max(matrix.length, matrix[0].length)));
    const largest = Math.max(...matrix.flat().map(Math.abs)) || 1;
    canvas.width = size * matrix[0].length;
    canvas.height = size * matrix.length;
    const context = canvas.getContext("2d");
    matrix.forEach((row, i) =>
      row.forEach((x, j) => {
        const pale = Math.round(245 * (1 - Math.abs(x) / largest));
        context.fillStyle = x > 0 ? `rgb(225, ${pale}, ${pale})` : `rgb(${pale}, ${pale}, 225)`;
        context.fillRect(j * size, i * size, size, size);
      }),
    );
  }

  function show() {
    const samples = product(k, transpose(k));
    const dimensions = product(transpose(k), k);
    [k, samples, dimensions].forEach((matrix, i) => draw(canvases[i], matrix));
    [samples, dimensions].forEach((matrix, i) => {
      const off = energy(withoutDiagonal(matrix));
      const diagonal = energy(matrix) - off;
      [off, diagonal, off + diagonal].forEach((x, j) => {
        cells[4 * i + 1 + j].textContent = x.toFixed(4);
      });
    });
    document.getElementById("d-n").textContent = input("n").value;
    document.getElementById("d-m").textContent = input("m").value;
  }

  function begin(collapsed) {
    clearInterval(timer);
    const [n, m] = [Number(input("n").value), Number(input("m").value)];
    k = Array.from({ length: n }, () => {
      const row = Array.from({ length: m }, (_, j) => (collapsed ? Number(j === 0) : random()));
      return unit(row);
    });
    if (collapsed) k = k.map((row) => unit(row.map((x) => x + 0.05 * random())));
    show();
  }

  // Descends one of the two energies; the embeddings keep norm 1.
  function minimize(side) {
    clearInterval(timer);
    let steps = 0;
    timer = setInterval(() => {
      const gradient =
        side === "samples"
          ? product(withoutDiagonal(product(k, transpose(k))), k)
          : product(k, withoutDiagonal(product(transpose(k), k)));
      const rate = 0.2 / k.length;
      k = k.map((row, i) => unit(row.map((x, j) => x - rate * 4 * gradient[i][j])));
      show();
      if (++steps === 300) clearInterval(timer);
    }, 30);
  }

  input("n").oninput = input("m").oninput = input("new").onclick = () => begin(false);
  input("collapse").onclick = () => begin(true);
  input("samples").onclick = () => minimize("samples");
  input("dimensions").onclick = () => minimize("dimensions");
  begin(false);
}

document.addEventListener("DOMContentLoaded", startDuality);
