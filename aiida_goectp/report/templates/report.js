'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const rows = data.columns.id.length;
  const PAGE = 50;
  const COLLATOR = new Intl.Collator('en', { numeric: true });
  const PARTS = { electronic: 'ε∞', ionic: 'ε ionic', total: 'ε total' };
  const STYLE = {
    excluded: { symbol: 'x-thin', color: '#8a8a8a', line: { width: 1.5, color: '#8a8a8a' }, size: 8 },
    ranked: { symbol: 'circle', color: '#0072B2', opacity: 0.75, size: 7 },
    selected: { symbol: 'diamond-open', color: '#D55E00', line: { width: 2 }, size: 11 },
    computed: { symbol: 'star', color: '#000000', size: 10 },
  };
  const NARROW = window.matchMedia('(max-width: 800px)');
  const CONFIG = { displaylogo: false, responsive: true, displayModeBar: NARROW.matches ? false : 'hover', modeBarButtonsToRemove: ['lasso2d', 'select2d', 'autoScale2d', 'sendChartToCloud'] };
  const LEGEND = { orientation: 'h', x: 0, y: 1.02, yanchor: 'bottom' };
  // the buttons are in the margin to the right, below each other: at the top they would cover the legend
  const MODEBAR = { orientation: 'v' };
  const MARGIN = { l: 62, r: NARROW.matches ? 12 : 36, t: 10, b: 48 };
  const TICKS = [-2, -1, 0, 1, 2, 3, 4, 5].flatMap((power) => [1, 2, 5].map((digit) => Number(`${digit}e${power}`)));
  const logarithmic = (title, range) => ({ type: 'log', title: { text: title }, range, gridcolor: '#e5e5e5', tickmode: 'array', tickvals: TICKS, ticktext: TICKS.map(String) });
  const FONT = { family: 'system-ui, "Noto Sans", "DejaVu Sans", sans-serif', size: 13, color: '#1b2127' };
  const byId = (name) => document.getElementById(name);
  const column = (name) => data.columns[name];
  const webgl = (() => {
    try { return Boolean(document.createElement('canvas').getContext('webgl')); } catch { return false; }
  })();

  // text is only ever set as text: ids and labels come from files
  function element(tag, content, properties = {}) {
    const made = document.createElement(tag);
    if (Array.isArray(content)) made.append(...content);
    else if (content !== undefined && content !== null) made.textContent = content;
    return Object.assign(made, properties);
  }
  // plotly reads some tags in labels
  const plain = (text) => String(text).replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');
  function digits(value, count = 4) {
    if (value === null || value === undefined) return '';
    const text = Number(value).toPrecision(count);
    return text.includes('e') ? text : String(Number(text));
  }
  function deviating(value, deviation) {
    if (value === null) return '';
    if (deviation === null) return digits(value);
    const decimals = deviation > 0 ? Math.min(Math.max(1 - Math.floor(Math.log10(deviation)), 0), 4) : 4;
    return `${value.toFixed(decimals)} ± ${deviation.toFixed(decimals)}`;
  }
  function formula(text) {
    return text.split(/(\d+)/).map((part, place) => (place % 2 ? element('sub', part) : document.createTextNode(part)));
  }
  const flagsOf = (row) => data.flags.filter((_, bit) => (column('flags')[row] >> bit) & 1);
  const state = (row) => (column('selected')[row] ? 'selected' : column('rank')[row] > 0 ? 'ranked' : 'excluded');
  const computedOf = (row) => data.computed[row] ?? null;

  // ---- table ----
  const number = (key, title, deviation) => ({
    key, title, kind: 'number', value: (row) => column(key)[row],
    text: (row) => (deviation ? deviating(column(key)[row], column(deviation)[row]) : digits(column(key)[row])),
  });
  const columns = [
    { key: 'rank', title: 'rank', kind: 'number', value: (row) => column('rank')[row] || null, text: (row) => column('rank')[row] || '' },
    { key: 'id', title: 'id', kind: 'name', value: (row) => column('id')[row], text: (row) => column('id')[row] },
    { key: 'formula', title: 'formula', kind: 'formula', value: (row) => column('formula')[row], text: (row) => column('formula')[row] },
    number('score', data.merit.name, 'score_std'),
    number('gap', 'band gap (eV)'),
    ...Object.entries(PARTS).map(([part, title]) => number(part, title, `${part}_std`)),
    { ...number('stability', 'stable'), text: (row) => (column('stability')[row] === null ? '' : column('stability')[row].toFixed(2)) },
    { key: 'verdict', title: 'DFPT', kind: 'word', value: (row) => computedOf(row)?.verdict ?? null, text: (row) => computedOf(row)?.verdict ?? '' },
    ...Object.entries(PARTS).map(([part, title]) => ({ key: `dfpt_${part}`, title: `${title}, DFPT`, kind: 'number', value: (row) => computedOf(row)?.averages[part] ?? null, text: (row) => digits(computedOf(row)?.averages[part]) })),
    { key: 'round', title: 'round', kind: 'number', value: (row) => computedOf(row)?.round ?? null, text: (row) => computedOf(row)?.round ?? '' },
    { key: 'flags', title: 'flags', kind: 'text', value: (row) => flagsOf(row).length || null, text: (row) => flagsOf(row).map((flag) => flag.short).join(', ') },
    { key: 'reason', title: 'reason', kind: 'text', value: (row) => column('reason')[row] || null, text: (row) => column('reason')[row] },
  ].filter((item) => item.key === 'id' || column('id').some((_, row) => item.value(row) !== null));
  let shown = Array.from({ length: rows }, (_, row) => row);
  let sorted = { key: null, descending: false };
  let page = 0;
  let chosen = null;

  function filterRows() {
    const words = byId('search').value.toLowerCase().split(/\s+/).filter(Boolean);
    const elements = byId('elements').value.split(/[\s,]+/).filter(Boolean).map((text) => text[0].toUpperCase() + text.slice(1).toLowerCase());
    const wanted = byId('status').value;
    const bounds = [['gap', 'gap-min', 'gap-max'], ['total', 'total-min', 'total-max']].map(([key, low, high]) => [key, byId(low).value, byId(high).value]);
    shown = [];
    for (let row = 0; row < rows; row += 1) {
      const text = `${column('id')[row]} ${column('formula')[row]} ${column('reason')[row]} ${computedOf(row)?.verdict ?? ''}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) continue;
      if (elements.length) {
        const own = new Set(column('formula')[row].match(/[A-Z][a-z]?/g) ?? []);
        if (!elements.every((symbol) => own.has(symbol))) continue;
      }
      if (!hasStatus(row, wanted)) continue;
      const inside = bounds.every(([key, low, high]) => {
        const value = column(key)[row];
        if (low === '' && high === '') return true;
        return value !== null && (low === '' || value >= Number(low)) && (high === '' || value <= Number(high));
      });
      if (inside) shown.push(row);
    }
    sortRows();
  }
  function hasStatus(row, wanted) {
    if (wanted === 'all') return true;
    if (wanted === 'flagged') return column('flags')[row] !== 0;
    if (wanted === 'computed') return computedOf(row) !== null;
    if (wanted === 'ranked') return column('rank')[row] > 0;
    return state(row) === wanted;
  }
  function sortRows() {
    const item = columns.find((one) => one.key === sorted.key);
    if (item) {
      const keys = new Map(shown.map((row) => [row, item.value(row)]));
      const sign = sorted.descending ? -1 : 1;
      shown.sort((first, second) => {
        const [a, b] = [keys.get(first), keys.get(second)];
        if (a === b) return first - second;
        if (a === null) return 1; // unknown values are last in both directions
        if (b === null) return -1;
        return sign * (typeof a === 'string' ? COLLATOR.compare(a, b) : a - b);
      });
    } else shown.sort((first, second) => first - second);
    page = 0;
    showPage();
  }
  function showHead() {
    byId('table').tHead.replaceChildren(element('tr', columns.map((item) => {
      const active = sorted.key === item.key;
      const button = element('button', item.title + (active ? (sorted.descending ? ' ▼' : ' ▲') : ''), { type: 'button' });
      button.dataset.column = item.key;
      button.addEventListener('click', () => {
        sorted = { key: item.key, descending: active ? !sorted.descending : item.kind === 'number' && item.key !== 'rank' };
        sortRows();
      });
      const cell = element('th', [button], { scope: 'col' });
      if (active) cell.setAttribute('aria-sort', sorted.descending ? 'descending' : 'ascending');
      return cell;
    })));
  }
  function showPage() {
    showHead();
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(Math.max(page, 0), pages - 1);
    byId('table').tBodies[0].replaceChildren(...shown.slice(page * PAGE, (page + 1) * PAGE).map((row) => {
      const line = element('tr', columns.map((item) => cellOf(item, row)), { className: row === chosen ? 'chosen' : '' });
      line.dataset.row = row;
      return line;
    }));
    byId('count').textContent = `${shown.length} of ${rows} crystals`;
    byId('page-number').textContent = `page ${page + 1} of ${pages}`;
    byId('previous').disabled = page === 0;
    byId('next').disabled = page === pages - 1;
  }
  function cellOf(item, row) {
    if (item.kind === 'name') return element('td', [element('button', item.text(row), { type: 'button' })], { className: 'name' });
    if (item.kind === 'formula') return element('td', formula(item.text(row)));
    return element('td', item.text(row), { className: item.kind });
  }
  function saveCsv() {
    const quoted = (value) => {
      let text = String(value ?? '');
      if (/^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text))) text = `'${text}`; // no formula in a spreadsheet
      return /[",\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
    };
    const names = columns.flatMap((item) => (data.columns[`${item.key}_std`] ? [item.key, `${item.key}_std`] : [item.key]));
    const value = (name, row) => {
      const item = columns.find((one) => one.key === name);
      return item && item.kind !== 'number' ? item.text(row) : item ? item.value(row) : column(name)[row];
    };
    const lines = [names, ...shown.map((row) => names.map((name) => value(name, row)))];
    const link = element('a', null, {
      href: URL.createObjectURL(new Blob([lines.map((line) => line.map(quoted).join(',')).join('\n') + '\n'], { type: 'text/csv' })),
      download: 'candidates.csv',
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  // ---- detail ----
  function tensorTable(title, six) {
    const [xx, yy, zz, yz, xz, xy] = six;
    const lines = [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]];
    const body = element('tbody', lines.map((line) => element('tr', line.map((value) => element('td', value.toFixed(2).replace(/^-0\.00$/, '0.00'))))));
    return element('table', [element('caption', title), body]);
  }
  function choose(row, scroll) {
    chosen = row;
    document.querySelectorAll('#table tbody tr').forEach((line) => line.classList.toggle('chosen', Number(line.dataset.row) === row));
    const panel = byId('detail');
    const found = computedOf(row);
    const facts = [
      ['rank', column('rank')[row] || 'none'],
      [data.merit.name, deviating(column('score')[row], column('score_std')[row])],
      ['band gap', column('gap')[row] === null ? '' : `${digits(column('gap')[row])} eV`],
      ...Object.entries(PARTS).map(([part, title]) => [title, deviating(column(part)[row], column(`${part}_std`)[row])]),
      ['probability of stability', digits(column('stability')[row], 3)],
      ['DFPT', found ? [found.verdict, found.source, found.process ? `process ${found.process}` : '', found.hours ? `${digits(found.hours, 3)} core-hours` : ''].filter(Boolean).join(', ') : ''],
      ['DFPT finding', found?.reason ?? ''],
      ['why', column('reason')[row] || (column('selected')[row] ? 'among the selected crystals' : column('rank')[row] ? 'passes all conditions' : '')],
      ...flagsOf(row).map((flag) => [`flag: ${flag.short}`, flag.long]),
    ].filter(([, text]) => text !== '');
    const tensors = element('div', null, { className: 'tensors' });
    const own = data.tensors[row];
    Object.entries(PARTS).forEach(([part, title], place) => {
      if (own && own[place]) tensors.append(tensorTable(`${title}, predicted`, own[place]));
      if (found?.tensors[part]) tensors.append(tensorTable(`${title}, DFPT`, found.tensors[part]));
    });
    const list = element('dl', facts.flatMap(([name, text]) => [element('dt', name), element('dd', text)]));
    const heading = element('h3', [...formula(column('formula')[row]), document.createTextNode(` ${column('id')[row]}`)]);
    const scene = element('div', null, { id: 'crystal' });
    panel.replaceChildren(heading, list, scene, tensors);
    if (data.crystals[row]) drawCrystal(scene, row);
    else scene.replaceWith(element('p', 'The structure is not in this page.', { className: 'hint' }));
    markPoint(row);
    if (scroll && NARROW.matches) panel.scrollIntoView({ block: 'start' });
  }
  function drawCrystal(scene, row) {
    if (!webgl) {
      scene.replaceWith(element('p', 'The structure is not drawn: this browser has no WebGL.', { className: 'hint' }));
      return;
    }
    const [lattice, numbers, fractional] = data.crystals[row];
    const vectors = [0, 3, 6].map((start) => lattice.slice(start, start + 3));
    const cartesian = (f) => [0, 1, 2].map((axis) => f[0] * vectors[0][axis] + f[1] * vectors[1][axis] + f[2] * vectors[2][axis]);
    const atoms = [];
    numbers.forEach((z, atom) => {
      const base = fractional.slice(3 * atom, 3 * atom + 3).map((x) => { const inside = x - Math.floor(x); return inside > 0.9995 ? 0 : inside; });
      const images = base.map((x) => (x < 0.0005 ? [0, 1] : [0])); // atoms on a face are drawn on both sides
      for (const i of images[0]) for (const j of images[1]) for (const k of images[2]) atoms.push({ z, at: cartesian([base[0] + i, base[1] + j, base[2] + k]) });
    });
    // plotly draws atoms of a fixed number of pixels, whatever the size of the cell
    const scale = 230 / Math.max(...[[1, 1, 1], [1, 1, -1], [1, -1, 1], [-1, 1, 1]].map((f) => Math.hypot(...cartesian(f))));
    const traces = [cellTrace(cartesian), bondTrace(atoms)];
    for (const z of new Set(numbers)) {
      const [symbol, color, radius] = data.elements[z];
      const own = atoms.filter((atom) => atom.z === z).map((atom) => atom.at);
      traces.push({
        type: 'scatter3d', mode: 'markers', name: symbol, hovertemplate: `${symbol}<extra></extra>`,
        x: own.map((p) => p[0]), y: own.map((p) => p[1]), z: own.map((p) => p[2]),
        marker: { size: Math.min(Math.max(scale * radius, 4), 34), color, opacity: 1, line: { color: '#333333', width: 1 } },
      });
    }
    traces.push(...ellipsoid(row, vectors, cartesian([0.5, 0.5, 0.5])));
    const hidden = { visible: false, showspikes: false };
    Plotly.newPlot(scene, traces, {
      margin: { l: 0, r: 0, t: 0, b: 0 }, font: FONT, showlegend: true, legend: { orientation: 'h', y: 0 },
      scene: { aspectmode: 'data', xaxis: hidden, yaxis: hidden, zaxis: hidden, camera: { projection: { type: 'orthographic' }, eye: { x: 1.5, y: 0.9, z: 0.6 } } },
    }, { displaylogo: false, responsive: true, displayModeBar: false });
  }
  function cellTrace(cartesian) {
    const corners = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => cartesian([n & 1, (n >> 1) & 1, (n >> 2) & 1]));
    const ends = [];
    for (let n = 0; n < 8; n += 1) for (const bit of [1, 2, 4]) if (!(n & bit)) ends.push(corners[n], corners[n | bit], [null, null, null]);
    return lines3d(ends, '#444444', 2);
  }
  function bondTrace(atoms) {
    const ends = [];
    if (atoms.length < 400) {
      atoms.forEach((first, place) => atoms.slice(place + 1).forEach((second) => {
        const distance = Math.hypot(...first.at.map((x, axis) => x - second.at[axis]));
        if (distance < 1.15 * (data.elements[first.z][2] + data.elements[second.z][2])) ends.push(first.at, second.at, [null, null, null]);
      }));
    }
    return lines3d(ends, '#9a9a9a', 5);
  }
  function lines3d(ends, color, width) {
    return { type: 'scatter3d', mode: 'lines', hoverinfo: 'skip', showlegend: false, x: ends.map((p) => p[0]), y: ends.map((p) => p[1]), z: ends.map((p) => p[2]), line: { color, width } };
  }
  // the image of the unit sphere under a tensor has the principal values as semi-axes
  function ellipsoid(row, vectors, centre) {
    const own = data.tensors[row];
    const six = own && (own[2] ?? own[0]);
    if (!six) return [];
    const [xx, yy, zz, yz, xz, xy] = six;
    const apply = (u) => [xx * u[0] + xy * u[1] + xz * u[2], xy * u[0] + yy * u[1] + yz * u[2], xz * u[0] + yz * u[1] + zz * u[2]];
    const grid = [];
    for (let i = 0; i <= 16; i += 1) {
      const line = [];
      for (let j = 0; j <= 32; j += 1) {
        const [theta, phi] = [(Math.PI * i) / 16, (Math.PI * j) / 16];
        line.push(apply([Math.sin(theta) * Math.cos(phi), Math.sin(theta) * Math.sin(phi), Math.cos(theta)]));
      }
      grid.push(line);
    }
    const largest = Math.max(...grid.flat().map((p) => Math.hypot(...p)));
    const scale = (0.42 * Math.min(...vectors.map((v) => Math.hypot(...v)))) / largest;
    const along = (axis) => grid.map((line) => line.map((p) => centre[axis] + scale * p[axis]));
    return [{
      type: 'surface', name: `ellipsoid of ${own[2] ? 'ε total' : 'ε∞'}`, x: along(0), y: along(1), z: along(2), showscale: false, showlegend: true,
      visible: 'legendonly', opacity: 0.55, hoverinfo: 'skip', colorscale: [[0, '#E69F00'], [1, '#E69F00']],
    }];
  }

  // ---- plots ----
  const gaps = column('gap').some((value) => value !== null);
  const horizontal = gaps ? 'gap' : 'electronic';
  const vertical = gaps ? data.merit.tensor : 'ionic';
  let markTrace = null;
  function points(name, list) {
    const many = list.length > 1000 && webgl;
    const x = list.map((row) => column(horizontal)[row]);
    const y = list.map((row) => column(vertical)[row]);
    const trace = {
      type: many ? 'scattergl' : 'scatter', mode: 'markers', name: `${name} (${list.length})`, x, y, customdata: list, marker: STYLE[name],
      text: list.map((row) => plain(`${column('formula')[row]} ${column('id')[row]}`)),
      hovertemplate: `%{text}<br>${gaps ? 'band gap %{x:.3g} eV' : 'ε∞ %{x:.3g}'}<br>${PARTS[vertical]} %{y:.4g}<extra></extra>`,
    };
    if (!many && name !== 'excluded') trace.error_y = { array: list.map((row) => column(`${vertical}_std`)[row] ?? 0), thickness: 0.8, width: 0, color: '#888888' };
    return trace;
  }
  function drawPlot() {
    const lists = { excluded: [], ranked: [], selected: [] };
    for (let row = 0; row < rows; row += 1) if (column(horizontal)[row] !== null && column(vertical)[row] > 0) lists[state(row)].push(row);
    const traces = Object.entries(lists).filter(([, list]) => list.length).map(([name, list]) => points(name, list));
    const verified = Object.keys(data.computed).map(Number).filter((row) => column(horizontal)[row] !== null && data.computed[row].averages[vertical] > 0);
    if (gaps && verified.length) {
      traces.push({
        type: 'scatter', mode: 'markers', name: `DFPT (${verified.length})`, marker: STYLE.computed, customdata: verified,
        x: verified.map((row) => column('gap')[row]), y: verified.map((row) => data.computed[row].averages[vertical]),
        text: verified.map((row) => plain(`${column('formula')[row]} ${column('id')[row]}, DFPT`)), hovertemplate: '%{text}<br>%{y:.4g}<extra></extra>',
      });
    }
    data.lines.forEach(([value, x, y], place) => traces.push({
      type: 'scatter', mode: 'lines', x, y, name: `equal ${plain(data.merit.name)}`, legendgroup: 'lines', showlegend: place === 0, hovertemplate: `${plain(data.merit.name)} ${digits(value)}<extra></extra>`,
      line: { dash: 'dash', width: 1, color: '#666666' },
    }));
    if (gaps && data.front.length > 1) {
      traces.push({ type: 'scatter', mode: 'lines', name: 'Pareto front', x: data.front.map((row) => column('gap')[row]), y: data.front.map((row) => column(vertical)[row]), line: { color: '#000000', width: 1.2, shape: 'vh' }, hoverinfo: 'skip' });
    }
    markTrace = traces.length;
    traces.push({ type: 'scatter', mode: 'markers', x: [null], y: [null], showlegend: false, hoverinfo: 'skip', marker: { symbol: 'circle-open', size: 20, color: '#000000', line: { width: 2 } } });
    const known = Object.values(lists).flat();
    const values = known.map((row) => column(vertical)[row]);
    const limits = values.length ? [Math.log10(0.75 * values.reduce((a, b) => Math.min(a, b))), Math.log10(1.7 * values.reduce((a, b) => Math.max(a, b)))] : [0, 2];
    const right = known.map((row) => column(horizontal)[row]).reduce((a, b) => Math.max(a, b), 1);
    Plotly.newPlot('plot', traces, {
      font: FONT, margin: MARGIN, modebar: MODEBAR, hovermode: 'closest', legend: LEGEND,
      xaxis: { title: { text: gaps ? 'band gap (eV)' : 'ε∞, average' }, range: [0, 1.04 * right], zeroline: false, gridcolor: '#e5e5e5' },
      yaxis: logarithmic(`${PARTS[vertical]}, average`, limits),
    }, CONFIG).then((plot) => plot.on('plotly_click', (event) => {
      const row = event.points.map((point) => point.customdata).find((one) => one !== undefined);
      if (row !== undefined) choose(row, true);
    }));
    byId('plot-caption').textContent = gaps
      ? 'Predicted permittivity with standard deviation against band gap. Dashed lines have equal figure of merit.'
      : 'Ionic against electronic permittivity; the crystals have no column band_gap.';
  }
  function markPoint(row) {
    Plotly.restyle('plot', { x: [[column(horizontal)[row]]], y: [[column(vertical)[row]]] }, [markTrace]);
  }
  function drawParity() {
    const part = byId('parity-part').value;
    const list = Object.keys(data.computed).map(Number).filter((row) => data.computed[row].averages[part] !== undefined && column(part)[row] !== null);
    const x = list.map((row) => data.computed[row].averages[part]);
    const y = list.map((row) => column(part)[row]);
    const deviation = list.map((row) => column(`${part}_std`)[row]);
    const ends = [0.8 * Math.min(...x, ...y, 1e9), 1.25 * Math.max(...x, ...y, 1)];
    const refused = list.map((row) => !data.computed[row].accepted.includes(part));
    const accepted = list.map((_, place) => place).filter((place) => !refused[place]);
    const stated = accepted.filter((place) => deviation[place] !== null);
    const inside = stated.filter((place) => Math.abs(x[place] - y[place]) <= 1.6449 * deviation[place]).length;
    const errors = accepted.map((place) => Math.abs(y[place] / x[place] - 1)).filter(Number.isFinite);
    const error = errors.reduce((sum, value) => sum + value, 0) / errors.length;
    byId('parity-text').textContent = errors.length
      ? `${errors.length} accepted, mean relative error ${(100 * error).toFixed(0)} %${stated.length ? `, ${inside} of ${stated.length} in their 90 % interval` : ''}`
      : 'no crystal has this tensor from a prediction and from an accepted DFPT result';
    Plotly.react('parity', [
      { type: 'scatter', mode: 'lines', x: ends, y: ends, line: { color: '#000000', width: 1 }, hoverinfo: 'skip', showlegend: false },
      ...[false, true].map((bad) => {
        const own = list.map((_, place) => place).filter((place) => refused[place] === bad);
        return {
          type: 'scatter', mode: 'markers', name: bad ? 'refused by the gates' : 'accepted', showlegend: own.length > 0, customdata: own.map((place) => list[place]), x: own.map((place) => x[place]), y: own.map((place) => y[place]),
          error_y: { array: own.map((place) => deviation[place] ?? 0), thickness: 1, width: 0, color: '#888888' },
          marker: bad ? { symbol: 'x', color: '#555555', size: 8 } : { symbol: 'circle', color: '#0072B2', size: 9 },
          text: own.map((place) => plain(`${column('formula')[list[place]]} ${column('id')[list[place]]}`)), hovertemplate: '%{text}<br>DFPT %{x:.4g}<br>predicted %{y:.4g}<extra></extra>',
        };
      }),
    ], {
      font: FONT, margin: MARGIN, modebar: MODEBAR, hovermode: 'closest', legend: LEGEND,
      xaxis: logarithmic(`${PARTS[part]}, DFPT`, ends.map(Math.log10)),
      yaxis: logarithmic(`${PARTS[part]}, predicted`, ends.map(Math.log10)),
    }, CONFIG);
  }

  // ---- start ----
  const STATES = { all: 'all crystals', ranked: 'with a rank', selected: 'selected', computed: 'computed by DFPT', flagged: 'with a flag', excluded: 'excluded' };
  byId('status').append(...Object.entries(STATES).map(([value, text]) => element('option', text, { value })));
  let timer = null;
  byId('filters').addEventListener('input', () => { clearTimeout(timer); timer = setTimeout(filterRows, 80); });
  byId('filters').addEventListener('reset', () => setTimeout(filterRows));
  byId('filters').addEventListener('submit', (event) => event.preventDefault());
  byId('csv').addEventListener('click', saveCsv);
  byId('previous').addEventListener('click', () => { page -= 1; showPage(); });
  byId('next').addEventListener('click', () => { page += 1; showPage(); });
  byId('table').tBodies[0].addEventListener('click', (event) => {
    const line = event.target.closest('tr');
    if (line) choose(Number(line.dataset.row), true);
  });
  showPage();
  drawPlot();
  if (byId('parity')) {
    byId('parity-part').addEventListener('change', drawParity);
    drawParity();
    byId('parity').on('plotly_click', (event) => { const row = event.points[0].customdata; if (row !== undefined) choose(row, true); });
  }
  if (rows) choose(0, false);
})();
