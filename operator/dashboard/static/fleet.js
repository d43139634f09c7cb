// All releases: what needs a person first, as many as there are, with a search and filters that are in the address.
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { html } from './html.js';
import { Ago, Share, State, useNow, useStore } from './parts.js';
import { label } from './format.js';
import { order } from './store.js';
import { refine, toRelease } from './route.js';

export function FleetPage({ store, session, params }) {
  const version = useStore(store);
  const compare = useMemo(() => order(session.states), [session]);
  const all = useMemo(() => [...store.rows.values()].sort(compare), [version, compare]);
  const shown = useMemo(() => all.filter(filterOf(params, session.states)), [all, params.toString()]);
  const namespaces = useMemo(() => [...new Set(all.map((r) => r.namespace))].sort(), [all]);
  return html`<div class="fleet">
    <h1 class="visually-hidden" tabindex="-1" id="title">Releases</h1>
    <${Summary} all=${all} states=${session.states} params=${params} />
    <${Filters} namespaces=${namespaces} params=${params} states=${session.states} all=${all} />
    ${store.error && html`<p class="warning" role="alert">${store.error}</p>`}
    <p class="found" role="status">${found(store, all, shown)}</p>
    ${shown.length > 0 && html`<${List} rows=${shown} />`}
    ${store.loaded && shown.length === 0 && html`<${Nothing} all=${all} params=${params} />`}
  </div>`;
}

function found(store, all, shown) {
  if (!store.loaded) return 'Loading the releases';
  if (shown.length === all.length) return `${all.length} ${all.length === 1 ? 'release' : 'releases'}`;
  return `${shown.length} of ${all.length} releases`;
}

// groups are what the counts at the top stand for.
const groups = {
  person: { title: 'need a person', one: 'needs a person', tone: 'bad', of: (s) => s.needsPerson },
  way: { title: 'under way', one: 'under way', tone: 'run', of: (s) => s.underWay },
  rest: { title: 'at rest', one: 'at rest', tone: 'calm', of: (s) => !s.needsPerson && !s.underWay },
};

// filterOf makes a test of a row from the parameters of the address.
export function filterOf(params, states) {
  const words = (params.get('q') || '').toLowerCase().split(/\s+/).filter(Boolean);
  const namespace = params.get('namespace');
  const state = params.get('state');
  const group = groups[params.get('show')];
  const within = group && new Set(states.filter(group.of).map((s) => s.name));
  return (r) => {
    if (namespace && r.namespace !== namespace) return false;
    if (state && r.state !== state) return false;
    if (within && !within.has(r.state)) return false;
    if (words.length === 0) return true;
    const text = `${r.namespace}/${r.name} ${r.target} ${r.provider || ''} ${r.strategy} ${r.state} ${r.message || ''} ${r.revision || ''}`.toLowerCase();
    return words.every((w) => text.includes(w));
  };
}

function Summary({ all, states, params }) {
  return html`<div class="summary" role="group" aria-label="Show only">
    ${Object.entries(groups).map(([key, group]) => {
      const within = new Set(states.filter(group.of).map((s) => s.name));
      const count = all.reduce((n, r) => n + (within.has(r.state) ? 1 : 0), 0);
      const pressed = params.get('show') === key;
      return html`<button type="button" class=${'figure ' + (count > 0 ? group.tone : 'calm')} aria-pressed=${pressed ? 'true' : 'false'}
        onClick=${() => refine(params, { show: pressed ? '' : key, state: '' })}>
        <strong>${count}</strong> <span>${count === 1 ? group.one : group.title}</span></button>`;
    })}
  </div>`;
}

function Filters({ namespaces, states, params, all }) {
  const search = useRef();
  useEffect(() => {
    const key = (e) => {
      if (e.key !== '/' || e.ctrlKey || e.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement?.tagName)) return;
      e.preventDefault();
      search.current?.focus();
    };
    addEventListener('keydown', key);
    return () => removeEventListener('keydown', key);
  }, []);
  const present = useMemo(() => new Set(all.map((r) => r.state)), [all]);
  return html`<form class="filters" role="search" onSubmit=${(e) => e.preventDefault()}>
    <label class="search"><span class="visually-hidden">Search names, targets and messages</span>
      <input ref=${search} type="search" placeholder="Search names, targets, messages" value=${params.get('q') || ''}
        onInput=${(e) => refine(params, { q: e.currentTarget.value })} autocomplete="off" spellcheck=${false} />
      <kbd aria-hidden="true">/</kbd></label>
    <label><span class="visually-hidden">Namespace</span>
      <select onChange=${(e) => refine(params, { namespace: e.currentTarget.value })}>
        <option value="" selected=${!params.get('namespace')}>All namespaces</option>
        ${namespaces.map((n) => html`<option value=${n} selected=${params.get('namespace') === n}>${n}</option>`)}
      </select></label>
    <label><span class="visually-hidden">State</span>
      <select onChange=${(e) => refine(params, { state: e.currentTarget.value, show: '' })}>
        <option value="" selected=${!params.get('state')}>All states</option>
        ${states.filter((s) => present.has(s.name) || params.get('state') === s.name)
          .map((s) => html`<option value=${s.name} selected=${params.get('state') === s.name}>${label(s.name)}</option>`)}
      </select></label>
  </form>`;
}

function Nothing({ all, params }) {
  if (all.length === 0) {
    return html`<div class="nothing card"><p>There is no Canary that you may see.</p>
      <p class="note">What you see is what you may list: the right <code>list canaries.flagger.app</code> in a namespace, or in all.</p></div>`;
  }
  return html`<div class="nothing card"><p>No release is like that.</p>
    <button type="button" class="button" onClick=${() => refine(params, { q: '', namespace: '', state: '', show: '' })}>Show all</button></div>`;
}

// Rows have one height, so that only those in sight are drawn.
const wide = matchMedia('(min-width: 880px)');
const heightOf = () => (wide.matches ? 52 : 92);
const beyond = 10;

function useSight(list, count) {
  const [sight, set] = useState({ first: 0, last: 30, height: heightOf() });
  useLayoutEffect(() => {
    let drawn = false;
    const look = () => {
      drawn = false;
      if (!list.current) return;
      const height = heightOf();
      const top = Math.max(0, -list.current.getBoundingClientRect().top);
      const first = Math.max(0, Math.floor(top / height) - beyond);
      const last = Math.min(count, Math.ceil((top + innerHeight) / height) + beyond);
      set((was) => (was.first === first && was.last === last && was.height === height ? was : { first, last, height }));
    };
    const later = () => {
      if (drawn) return;
      drawn = true;
      requestAnimationFrame(look);
    };
    look();
    addEventListener('scroll', later, { passive: true });
    addEventListener('resize', later);
    return () => {
      removeEventListener('scroll', later);
      removeEventListener('resize', later);
    };
  }, [count]);
  return sight;
}

function List({ rows }) {
  const list = useRef();
  const { first, last, height } = useSight(list, rows.length);
  const now = useNow(1000);
  const [active, setActive] = useState(0);
  const focus = (index) => {
    const to = Math.max(0, Math.min(rows.length - 1, index));
    setActive(to);
    const top = list.current.getBoundingClientRect().top + scrollY + to * height;
    if (top < scrollY + 140) scrollTo(0, top - 140);
    if (top + height > scrollY + innerHeight) scrollTo(0, top + height - innerHeight + 16);
    // The row may be drawn only after the page has moved.
    requestAnimationFrame(() => requestAnimationFrame(() => list.current?.querySelector(`[data-index="${to}"] a`)?.focus({ preventScroll: true })));
  };
  const keys = (e) => {
    const page = Math.max(1, Math.floor(innerHeight / height) - 3);
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -rows.length, End: rows.length }[e.key];
    if (by === undefined || e.ctrlKey || e.metaKey || e.altKey) return;
    e.preventDefault();
    focus(active + by);
  };
  const at = Math.min(active, rows.length - 1);
  return html`<div class="list card" role="table" aria-label="Releases" aria-rowcount=${rows.length + 1} onKeyDown=${keys}>
    <div class="row head" role="row" aria-rowindex="1">
      <span role="columnheader">State</span><span role="columnheader">Release</span><span role="columnheader">Canary</span>
      <span role="columnheader">Step</span><span role="columnheader">Failed</span><span role="columnheader">Since</span><span role="columnheader">Message</span>
    </div>
    <div class="rows" role="rowgroup" ref=${list} style=${{ height: rows.length * height + 'px' }}>
      ${rows.slice(first, last).map((r, i) => html`<${Row} key=${r.namespace + '/' + r.name} row=${r} index=${first + i}
        top=${(first + i) * height} now=${now} active=${first + i === at} onFocus=${() => setActive(first + i)} />`)}
    </div>
  </div>`;
}

function Row({ row: r, index, top, now, active, onFocus }) {
  const atRest = r.state === 'AtRest';
  return html`<div class="row" role="row" aria-rowindex=${index + 2} data-index=${index} style=${{ transform: `translateY(${top}px)` }}>
    <span role="cell" class="cell-state"><${State} state=${r.state} /></span>
    <span role="cell" class="cell-name"><a href=${toRelease(r.namespace, r.name)} tabindex=${active ? 0 : -1} onFocus=${onFocus}>
      <span class="name">${r.name}</span><span class="namespace">${r.namespace}</span></a></span>
    <span role="cell" class="cell-share"><${Share} weight=${r.weight || 0} mirror=${r.mirror || 0} matched=${r.matched} quiet=${!r.weight && !r.mirror} /></span>
    <span role="cell" class="cell-step">${r.of ? `${r.step || 0}/${r.of}` : '–'}</span>
    <span role="cell" class=${'cell-failed' + (r.failed > 0 ? ' bad' : '')}>${r.of ? `${r.failed || 0}/${r.threshold}` : '–'}</span>
    <span role="cell" class="cell-since"><${Ago} time=${r.changed} now=${now} /></span>
    <span role="cell" class="cell-message" title=${atRest ? '' : r.message}>${atRest ? '' : r.message}</span>
  </div>`;
}
