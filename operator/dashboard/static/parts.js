// Small things that several pages show.
import { useEffect, useState } from 'preact/hooks';
import { html } from './html.js';
import { ago, clock, label, secondsOf } from './format.js';

// One shape for each state, so that colour is never the only sign.
const shapes = {
  Halted: 'M5.2 1h5.6L15 5.2v5.6L10.8 15H5.2L1 10.8V5.2zM7 4v5h2V4zm0 6v2h2v-2z',
  Stalled: 'M8 1l7.5 13.5H.5zM7 6v4h2V6zm0 5v2h2v-2z',
  RolledBack: 'M6 2v3h4.5a4.5 4.5 0 0 1 0 9H3v-2h7.5a2.5 2.5 0 0 0 0-5H6v3L1.5 6z',
  AtGate: 'M4 7V5a4 4 0 0 1 8 0v2h1v8H3V7zm2 0h4V5a2 2 0 0 0-4 0z',
  Paused: 'M3 2h3.5v12H3zm6.5 0H13v12H9.5z',
  Suspended: 'M2.5 2.5h11v11h-11z',
  Initializing: 'M2 6.5h3v3H2zm4.5 0h3v3h-3zm4.5 0h3v3h-3z',
  Progressing: 'M3 2l10.5 6L3 14z',
  Promoting: 'M8 1l6 6.5h-3.7V15H5.7V7.5H2z',
  Terminating: 'M3.4 2L8 6.6 12.6 2 14 3.4 9.4 8l4.6 4.6-1.4 1.4L8 9.4 3.4 14 2 12.6 6.6 8 2 3.4z',
  AtRest: 'M6.3 13L1.5 8.2l1.6-1.6 3.2 3.2 6.6-6.6 1.6 1.6z',
};

const tones = {
  Halted: 'bad', Stalled: 'bad', RolledBack: 'bad', AtGate: 'wait', Paused: 'wait', Suspended: 'wait',
  Initializing: 'run', Progressing: 'run', Promoting: 'run', Terminating: 'run', AtRest: 'calm',
};

// tone is the group of colours of a state.
export function tone(state) {
  return tones[state] || 'run';
}

export function State({ state, plain }) {
  return html`<span class=${'state ' + tone(state) + (plain ? ' plain' : '')}>
    <svg viewBox="0 0 16 16" aria-hidden="true"><path d=${shapes[state] || shapes.Initializing} fill-rule="evenodd" /></svg>
    <span>${label(state)}</span>
  </span>`;
}

const verdictTones = { Passed: 'good', Failed: 'bad', Skipped: 'calm' };
const verdictMarks = { Passed: '✓', Failed: '✕', Skipped: '–' };

export function verdictTone(verdict) {
  return verdictTones[verdict] || 'wait';
}

export function Verdict({ verdict }) {
  return html`<span class=${'verdict ' + verdictTone(verdict)}>
    <span aria-hidden="true">${verdictMarks[verdict] || '?'}</span> ${label(verdict)}
  </span>`;
}

// Share is a bar of who serves.
export function Share({ weight, mirror, matched, quiet }) {
  const what = matched ? 'of the requests that match' : 'of the requests';
  const copies = mirror ? `, and copies of ${mirror}%` : '';
  return html`<span class=${'share' + (quiet ? ' quiet' : '')} role="img" aria-label=${`canary ${weight}% ${what}${copies}`}>
    <span class="bar"><span class="canary" style=${{ width: weight + '%' }}></span>
      ${mirror > 0 && html`<span class="copies" style=${{ width: mirror + '%' }}></span>`}</span>
    <span class="number">${weight}%${matched ? '*' : ''}</span>
  </span>`;
}

// useNow is the time in milliseconds, renewed as often as it is to be seen and not while nobody looks.
export function useNow(every = 1000) {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => document.visibilityState === 'visible' && set(Date.now()), every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

export function Ago({ time, now }) {
  if (!time) return html`<span>–</span>`;
  return html`<time datetime=${new Date(secondsOf(time) * 1000).toISOString()} title=${clock(time, 0)}>${ago(time, now)}</time>`;
}

export function Section({ title, id, children, count, note }) {
  return html`<section class="card" aria-labelledby=${id}>
    <header><h2 id=${id}>${title}${count > 0 && html` <span class="count">${count}</span>`}</h2>${note && html`<p class="note">${note}</p>`}</header>
    ${children}
  </section>`;
}

// useStore draws a component anew when the fleet has changed.
export function useStore(store) {
  const [, set] = useState(0);
  useEffect(() => store.subscribe(() => set(store.version)), [store]);
  return store.version;
}
