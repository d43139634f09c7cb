// Who serves, as a picture: clients, the route, primary and canary, with streams as wide as their shares: those that were
// counted where somebody counts the requests, else those that the mesh is asked for.
import { useLayoutEffect, useRef, useState } from 'preact/hooks';
import { html } from './html.js';

const height = 216;
const most = 96; // width of the stream of all requests

export function Flow({ release: r }) {
  const box = useRef();
  const width = useWidth(box);
  const { traffic: t } = r;
  const text = `The primary ${r.primary.name} gets ${t.primary}% and the canary ${t.canary}% of the requests${t.matched ? ' that match' : ''}`
    + (t.measuredCanary === undefined ? '' : `, measured ${t.measuredCanary}%`)
    + (t.mirror ? `, and copies of ${t.mirror}% go to the canary` : '') + '.';
  return html`<figure class="flow" ref=${box}>
    ${width > 0 && html`<${Picture} r=${r} width=${width} text=${text} />`}
    <figcaption class="visually-hidden">${text}</figcaption>
  </figure>`;
}

function useWidth(box) {
  const [width, set] = useState(0);
  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => set(Math.round(entry.contentRect.width)));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  return width;
}

function Picture({ r, width, text }) {
  const small = width < 560;
  const side = small ? 134 : Math.min(240, Math.round(width * 0.28));
  const knot = small ? 54 : 96;
  const clients = small ? 60 : 88;
  // What is at an edge has a line of its own width, which is not to be cut.
  const x = { clients: clients, route: clients + Math.round((width - clients - knot - side) * 0.42), side: width - side - 1 };
  x.routeEnd = x.route + knot;
  const middle = height / 2;
  const { primary, canary, mirror = 0, matched } = r.traffic; // primary and canary are 100 % together
  const counted = r.traffic.measuredCanary;
  const share = counted === undefined ? canary : counted;
  const wide = { primary: most * (100 - share) / 100, canary: most * share / 100, mirror: most * mirror / 100 };
  const top = middle - most / 2;
  const upper = 58, lower = 158;
  const route = r.provider || 'route';
  return html`<svg viewBox="0 0 ${width} ${height}" width=${width} height=${height} aria-hidden="true" class=${'picture' + (r.state === 'AtRest' ? ' calm' : '')}>
    <title>${text}</title>
    <g class="streams">
      <${Stream} kind="all" x1=${x.clients} y1=${middle} x2=${x.route} y2=${middle} width=${most} />
      <${Stream} kind="primary" x1=${x.routeEnd} y1=${top + wide.primary / 2} x2=${x.side} y2=${upper} width=${wide.primary} />
      <${Stream} kind="canary" x1=${x.routeEnd} y1=${top + wide.primary + wide.canary / 2} x2=${x.side} y2=${lower} width=${wide.canary} />
      ${mirror > 0 && html`<${Stream} kind="copies" x1=${x.routeEnd} y1=${middle + most / 2 - wide.mirror / 2} x2=${x.side} y2=${lower} width=${wide.mirror} />`}
    </g>
    <${Node} x=${1} y=${middle - most / 2} width=${x.clients - 1} height=${most} kind="clients" lines=${['Clients']} />
    <${Node} x=${x.route} y=${middle - most / 2 - 8} width=${knot} height=${most + 16} kind="route" lines=${small ? [fit(route, 7)] : [route, matched ? 'by match' : 'route']} />
    <${Side} x=${x.side} y=${upper} width=${side} kind="primary" title="Primary" share=${primary + '%'} of=${r.primary} />
    <${Side} x=${x.side} y=${lower} width=${side} kind="canary" title="Canary" share=${mirror > 0 && canary === 0 ? mirror + '% copies' : canary + '%'} counted=${counted} of=${r.canary} />
  </svg>`;
}

// fit cuts a text after so many letters.
function fit(text, letters) {
  return text.length <= letters ? text : text.slice(0, letters - 1) + '…';
}

// Stream is a band between two points. Ripples move along it, but for those who want no motion.
function Stream({ kind, x1, y1, x2, y2, width }) {
  if (width <= 0) return html`<path class=${'stream none ' + kind} d=${curve(x1, y1, x2, y2)} />`;
  return html`<g class=${'stream ' + kind}>
    <path class="bed" d=${curve(x1, y1, x2, y2)} style=${{ strokeWidth: Math.max(width, 2) + 'px' }} />
    <path class="water" d=${curve(x1, y1, x2, y2)} style=${{ strokeWidth: Math.max(width * 0.92, 1.5) + 'px' }} />
  </g>`;
}

function curve(x1, y1, x2, y2) {
  const bend = (x1 + x2) / 2;
  return `M${x1} ${y1}C${bend} ${y1} ${bend} ${y2} ${x2} ${y2}`;
}

function Node({ x, y, width, height, kind, lines }) {
  const first = y + height / 2 - (lines.length - 1) * 9;
  return html`<g class=${'node ' + kind}>
    <rect x=${x} y=${y} width=${width} height=${height} rx="8" />
    ${lines.map((l, i) => html`<text x=${x + width / 2} y=${first + i * 18} class=${i > 0 ? 'minor' : ''} text-anchor="middle" dominant-baseline="central">${l}</text>`)}
  </g>`;
}

function Side({ x, y, width, kind, title, share, counted, of }) {
  const letters = Math.floor((width - 24) / 7);
  const pods = of.exists || of.wantedPods ? `${of.readyPods}/${of.wantedPods} pods` : 'no pods';
  return html`<g class=${'node ' + kind}>
    <rect x=${x} y=${y - 46} width=${width} height="92" rx="10" />
    <text x=${x + 12} y=${y - 24} dominant-baseline="central">${title}</text>
    <text x=${x + width - 12} y=${y - 24} text-anchor="end" dominant-baseline="central" class="share">${share}</text>
    <text x=${x + 12} y=${y + 2} dominant-baseline="central" class="minor">${fit(of.images || of.name, letters)}</text>
    <text x=${x + 12} y=${y + 26} dominant-baseline="central" class=${'minor' + (of.readyPods < of.wantedPods ? ' short' : '')}>${pods}${of.restarts > 0 ? `, ${of.restarts} restarts` : ''}</text>
    ${counted !== undefined && html`<text x=${x + width - 12} y=${y + 26} text-anchor="end" dominant-baseline="central" class="minor measured">${width > 150 ? 'measured ' : ''}${counted}%</text>`}
  </g>`;
}
