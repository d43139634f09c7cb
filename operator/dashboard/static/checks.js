// The checks of a release, each with its values over time against its limits.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { html } from './html.js';
import { Verdict, verdictTone } from './parts.js';
import { limitsOf } from './format.js';

export function Checks({ checks, trends }) {
  if (!checks?.length) return html`<p class="note">No check has been run in this release.</p>`;
  return html`<ul class="checks">${checks.map((c, i) => html`<${Check} key=${i + c.name} check=${c} points=${trends?.[i] || []} />`)}</ul>`;
}

function Check({ check: c, points }) {
  return html`<li class=${'check ' + verdictTone(c.verdict)}>
    <div class="top"><h3>${c.name}</h3><${Verdict} verdict=${c.verdict} /></div>
    <p class="values"><strong>${c.value || '–'}</strong> <span class="limit">${c.limit ? 'limit ' + c.limit : 'no limit'}</span>
      ${c.window && html`<span class="limit">over ${c.window}</span>`}
      ${!c.decides && html`<span class="tag">does not decide</span>`}
      ${c.failures > 0 && html`<span class="tag bad">failed ${c.failures}×</span>`}</p>
    ${c.message && c.verdict !== 'Passed' && html`<p class="message">${c.message}</p>`}
    ${points.length > 1 && html`<${Chart} check=${c} points=${points} />`}
    ${c.query && html`<details><summary>Query${c.source ? ` (${c.source})` : ''}</summary><pre tabindex="0">${c.query}</pre></details>`}
  </li>`;
}

// Chart is drawn anew where its shape changes, and given the values where only they do.
function Chart({ check, points }) {
  const box = useRef();
  const plot = useRef(null);
  const limits = limitsOf(check.limit);
  const shape = JSON.stringify(limits);
  const latest = useRef(points);
  latest.current = points;
  useEffect(() => {
    const element = box.current;
    if (!element) return undefined; // it has gone already
    const make = () => {
      plot.current?.destroy();
      plot.current = new uPlot(optionsOf(element, limits), dataOf(latest.current, limits), element);
    };
    make();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: chartHeight }));
    resized.observe(element);
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', make);
    addEventListener('sluice-theme', make);
    return () => {
      resized.disconnect();
      dark.removeEventListener('change', make);
      removeEventListener('sluice-theme', make);
      plot.current?.destroy();
      plot.current = null;
    };
  }, [shape]);
  useEffect(() => plot.current?.setData(dataOf(points, limits)), [points]);
  const values = points.map((p) => p[1]);
  const text = `${check.name}: ${points.length} values from ${Math.min(...values)} to ${Math.max(...values)}, the last ${values[values.length - 1]}; limit ${check.limit || 'none'}`;
  return html`<div class="chart" ref=${box} role="img" aria-label=${text}></div>`;
}

const chartHeight = 132;

function dataOf(points, limits) {
  const data = [points.map((p) => p[0]), points.map((p) => p[1])];
  for (const limit of [limits.min, limits.max]) {
    if (limit !== undefined) data.push(points.map(() => limit));
  }
  return data;
}

function optionsOf(box, limits) {
  const colour = (name) => getComputedStyle(box).getPropertyValue(name).trim();
  const line = colour('--line'), muted = colour('--muted');
  const font = '11px ' + getComputedStyle(document.body).fontFamily;
  const axis = { stroke: muted, font, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 } };
  const limit = { stroke: colour('--bad'), width: 1.5, dash: [5, 4], points: { show: false } };
  const series = [{}, { stroke: colour('--run'), width: 2, fill: colour('--run-soft'), points: { show: true, size: 5, fill: colour('--run') } }];
  for (const at of [limits.min, limits.max]) {
    if (at !== undefined) series.push(limit);
  }
  return {
    width: box.clientWidth, height: chartHeight, series,
    legend: { show: false }, cursor: { y: false, drag: { x: false, y: false } },
    scales: { y: { range: (_, low, high) => rangeOf(low, high, limits) } },
    axes: [{ ...axis, size: 26, space: 84, values: (_, at) => at.map(timeOf) }, { ...axis, size: 52, space: 28 }],
    hooks: { setCursor: [showValue] },
  };
}

// timeOf is the time of day at an axis, with seconds where they are not nought.
function timeOf(at) {
  const options = { hour: '2-digit', minute: '2-digit', hour12: false };
  if (at % 60 !== 0) options.second = '2-digit';
  return new Date(at * 1000).toLocaleTimeString([], options);
}

// rangeOf has the values and the limits in sight, with some room about them.
function rangeOf(low, high, limits) {
  const all = [low, high, limits.min, limits.max].filter((v) => Number.isFinite(v));
  if (all.length === 0) return [0, 1];
  const min = Math.min(...all), max = Math.max(...all);
  const room = (max - min || Math.abs(max) || 1) * 0.15;
  return [min >= 0 ? Math.max(0, min - room) : min - room, max + room];
}

function showValue(u) {
  const { idx, left } = u.cursor;
  let tip = u.over.querySelector('.tip');
  if (!tip) {
    tip = document.createElement('div');
    tip.className = 'tip';
    u.over.append(tip);
  }
  const value = idx === null || idx === undefined || left < 0 ? null : u.data[1][idx];
  tip.hidden = value === null || value === undefined;
  if (tip.hidden) return;
  tip.textContent = `${value} at ${new Date(u.data[0][idx] * 1000).toLocaleTimeString()}`;
  tip.style.left = Math.min(left, u.over.clientWidth - 120) + 'px';
}
