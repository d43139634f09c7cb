// One release: why it is where it is, who serves, how far it is, and what people can do about it.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { html } from './html.js';
import { Ago, Section, State, Verdict, useNow, useStore } from './parts.js';
import { get, releasePath } from './api.js';
import { label, span } from './format.js';
import { toFleet } from './route.js';
import { Flow } from './flow.js';
import { Steps } from './steps.js';
import { Checks } from './checks.js';
import { Actions, Dialog } from './actions.js';

// While something is under way pods and events change without the Canary, so that they are read again now and then.
const readEvery = 5000;

function useRelease(store, namespace, name) {
  const [detail, setDetail] = useState(null);
  const [error, setError] = useState(null);
  const latest = useRef(0);
  useStore(store);
  const row = store.row(namespace, name);
  const read = useCallback(async () => {
    const mine = ++latest.current;
    try {
      const answer = await get(releasePath(namespace, name));
      if (mine !== latest.current) return;
      setDetail(answer);
      setError(null);
    } catch (err) {
      if (mine === latest.current) setError(err);
    }
  }, [namespace, name]);
  useEffect(() => {
    setDetail(null);
    setError(null);
  }, [namespace, name]);
  useEffect(() => { read(); }, [read, row?.v]);
  const busy = row && row.state !== 'AtRest';
  useEffect(() => {
    if (!busy) return undefined;
    const timer = setInterval(() => document.visibilityState === 'visible' && read(), readEvery);
    return () => clearInterval(timer);
  }, [busy, read]);
  return { detail, error, read, gone: store.loaded && !row };
}

export function ReleasePage({ store, namespace, name, back }) {
  const { detail, error, read, gone } = useRelease(store, namespace, name);
  const now = useNow(1000);
  const title = html`<h1 id="title" tabindex="-1"><span class="namespace">${namespace}/</span>${name}</h1>`;
  if (error?.status === 404 || gone) {
    return html`<div class="release"><${Back} to=${back} /><div class="card nothing">${title}
      <p>There is no such release, or you may not see it.</p></div></div>`;
  }
  // The title stays the same element while the release is loaded, so that it keeps the focus.
  return html`<div class="release"><${Back} to=${back} />
    <header class="release-head">
      <div class="line">${title}${detail && html`<${Since} release=${detail.release} now=${now} />`}</div>
      ${detail && html`<${Head} detail=${detail} error=${error} onDone=${read} />`}
    </header>
    ${!detail && html`<p class="loading" role="status">${error ? error.message : 'Loading the release'}</p>`}
    ${detail && html`<${Columns} detail=${detail} now=${now} onDone=${read} />`}
  </div>`;
}

function Columns({ detail, now, onDone }) {
  return html`<div class="columns">
      <div class="main">
        <${Section} title="Traffic" id="traffic"><${Flow} release=${detail.release} /></${Section}>
        <${Section} title="Steps" id="steps"><${Steps} detail=${detail} now=${now} /></${Section}>
        <${Section} title="Checks" id="checks" note=${roundsSaid(detail.release)}><${Checks} checks=${detail.release.checks} trends=${detail.trends} /></${Section}>
      </div>
      <div class="aside">
        <${Advice} detail=${detail} />
        <${Workloads} release=${detail.release} />
        <${Asked} actions=${detail.release.actions} now=${now} unread=${detail.unread?.actions} />
        <${Events} events=${detail.release.events} now=${now} unread=${detail.unread?.events} />
        <${History} detail=${detail} now=${now} onDone=${onDone} />
        <${Facts} release=${detail.release} now=${now} />
        <${Manifest} yaml=${detail.yaml} />
      </div>
    </div>`;
}

function Back({ to }) {
  return html`<nav aria-label="Breadcrumb"><a class="back" href=${to || toFleet()}>← All releases</a></nav>`;
}

function Since({ release: r, now }) {
  return html`<${State} state=${r.state} />${r.changed && html`<span class="note">for <${Ago} time=${r.changed} now=${now} /></span>`}`;
}

function Head({ detail, error, onDone }) {
  const { release: r, links } = detail;
  return html`<p class="summary-text" aria-live="polite">${r.message}</p>
    ${r.warnings?.map((w) => html`<p class="warning">${w}</p>`)}
    ${error && html`<p class="warning" role="alert">${error.message} What is shown may be old.</p>`}
    <div class="line tools">
      <${Actions} detail=${detail} onDone=${onDone} />
      ${links?.length > 0 && html`<nav class="links" aria-label="Elsewhere">${links.map((l) => html`<a href=${l.url} target="_blank" rel="noopener noreferrer">${l.name}<span aria-hidden="true"> ↗</span></a>`)}</nav>`}
    </div>`;
}

function roundsSaid(r) {
  if (!r.step) return '';
  return `${r.failedChecks} of ${r.threshold} failed rounds`;
}

function Advice({ detail }) {
  const { release: r, why } = detail;
  if (!r.needsPerson && !why.pods?.length && !why.refused) return null;
  return html`<section class="card advice" aria-labelledby="advice">
    <header><h2 id="advice">${r.needsPerson ? 'What to do' : 'Look at'}</h2></header>
    ${r.needsPerson && html`<p>${why.summary}</p>`}
    ${why.pods?.map((p) => html`<p class="pod">${p}</p>`)}
    ${r.needsPerson && html`<ul>${r.advice?.map((a) => html`<li>${a.text}${a.command && html`<code class="command" tabindex="0">${a.command}</code>`}</li>`)}</ul>`}
  </section>`;
}

function Workloads({ release: r }) {
  const side = (title, of) => html`<tr><th scope="row">${title}<span class="note">${of.name}</span></th>
    <td>${of.unread ? html`<span class="note" title=${of.unread}>not to be read</span>` : html`<span class=${of.readyPods < of.wantedPods ? 'bad' : ''}>${of.readyPods}/${of.wantedPods}</span>`}</td>
    <td>${of.restarts}</td><td class="images">${of.images || '–'}</td></tr>`;
  return html`<${Section} title="Workloads" id="workloads"><div class="scroll" tabindex="0" role="region" aria-labelledby="workloads"><table><thead><tr><th scope="col">Side</th><th scope="col">Pods</th><th scope="col">Restarts</th><th scope="col">Images</th></tr></thead>
    <tbody>${side('Primary', r.primary)}${side('Canary', r.canary)}</tbody></table></div></${Section}>`;
}

function Asked({ actions, now, unread }) {
  return html`<${Section} title="Actions" id="asked" count=${actions?.length}>
    ${unread && html`<p class="note">${unread}</p>`}
    ${!unread && !actions?.length && html`<p class="note">Nobody has taken a hand in it.</p>`}
    <ul class="feed">${actions?.slice(0, 10).map((a) => html`<li key=${a.name} class=${a.state === 'Refused' ? 'bad' : ''}>
      <p><strong>${label(a.action)}</strong>${a.by && html` by <span class="who">${a.by}</span>`} <span class="tag">${a.state || 'Pending'}</span> <span class="note"><${Ago} time=${a.time} now=${now} /> ago</span></p>
      ${a.reason && html`<p class="said">“${a.reason}”</p>`}
      ${a.message && html`<p class="note">${a.message}</p>`}</li>`)}</ul>
  </${Section}>`;
}

function Events({ events, now, unread }) {
  const newest = [...(events || [])].reverse().slice(0, 30);
  return html`<${Section} title="Events" id="events" count=${events?.length}>
    ${unread && html`<p class="note">${unread}</p>`}
    ${!unread && newest.length === 0 && html`<p class="note">The API server has none any more.</p>`}
    <ul class="feed">${newest.map((e, i) => html`<li key=${e.time + e.reason + i} class=${e.warning ? 'bad' : ''}>
      <p><strong>${e.reason}</strong>${e.count > 1 && html` <span class="tag">${e.count}×</span>`} <span class="note"><${Ago} time=${e.time} now=${now} /> ago</span></p>
      <p class="note">${e.message}</p></li>`)}</ul>
  </${Section}>`;
}

function History({ detail, now, onDone }) {
  const { history, may, unread } = detail;
  const [to, goBack] = useState(null);
  const [said, say] = useState('');
  if (!history?.length) return null;
  const earlier = new Set(may.earlier || []);
  return html`<${Section} title="History" id="history">
    ${unread?.history && html`<p class="note">What was promoted before is not to be read: ${unread.history}</p>`}
    <div class="scroll" tabindex="0" role="region" aria-labelledby="history"><table>
    <thead><tr><th scope="col">Revision</th><th scope="col">State</th><th scope="col">Since</th></tr></thead>
    <tbody>${history.map((p) => html`<tr key=${p.revision + p.state}><td><code>${p.revision}</code><span class="note">${p.images}</span></td>
      <td>${label(p.state)}${p.by && html`<span class="note">by ${p.by}</span>`}
        ${earlier.has(p.revision) && html`<p><button type="button" class="button small danger" data-action="Rollback" data-to=${p.revision}
          aria-label=${'Roll back to ' + p.revision} onClick=${() => { say(''); goBack(p.revision); }}>Roll back</button></p>`}</td>
      <td><${Ago} time=${p.first} now=${now} />${p.tookSeconds > 0 && html`<span class="note">took ${span(p.tookSeconds)}</span>`}</td></tr>`)}</tbody>
  </table></div>
  <p class="result" role="status">${said}</p>
  ${to && html`<${Dialog} action="Rollback" release=${detail.release} to=${to} onClose=${() => goBack(null)} onDone=${(what) => { goBack(null); say(what.text); onDone(); }} />`}
  </${Section}>`;
}

function Facts({ release: r, now }) {
  const facts = [
    ['Target', r.target], ['Strategy', r.strategy], ['Provider', r.provider || '–'], ['Revision', html`<code>${r.revision || '–'}</code>`],
    ['Promoted', html`<code>${r.promotedRevision || '–'}</code>`], ['Started', html`<${Ago} time=${r.started} now=${now} />`],
  ];
  return html`<${Section} title="About" id="about"><dl>${facts.map(([k, v]) => html`<div><dt>${k}</dt><dd>${v}</dd></div>`)}</dl>
    ${r.rounds?.length > 0 && html`<details><summary>Rounds of checks (${r.rounds.length})</summary><ul class="feed">${[...r.rounds].reverse().map((x) => html`<li>
      <p>step ${x.step}, ${x.weight}% <${Verdict} verdict=${x.verdict} /> <span class="note"><${Ago} time=${x.time} now=${now} /> ago</span></p>${x.message && html`<p class="note">${x.message}</p>`}</li>`)}</ul></details>`}
  </${Section}>`;
}

function Manifest({ yaml }) {
  const [said, say] = useState('');
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(yaml);
      say('Copied');
    } catch {
      say('The browser does not let it be copied');
    }
  };
  return html`<section class="card"><details><summary>YAML of the Canary</summary>
    <p class="line"><button type="button" class="button small" onClick=${copy}>Copy</button> <span role="status" class="note">${said}</span></p>
    <pre tabindex="0">${yaml}</pre></details></section>`;
}
