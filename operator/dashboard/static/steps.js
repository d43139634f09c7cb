// The plan of a release as a time line: as many steps as there are, with gates, rounds of checks and the time that is left.
import { html } from './html.js';
import { span, secondsOf } from './format.js';

const lock = 'M4 7V5a4 4 0 0 1 8 0v2h1v8H3V7zm2 0h4V5a2 2 0 0 0-4 0z';

export function Steps({ detail, now }) {
  const { release: r, plan } = detail;
  const steps = stepsOf(r, plan);
  if (steps.length === 0) return null;
  const dense = steps.length > 14;
  const gate = (type) => plan.gates?.find((g) => g.type === type);
  const closed = r.gate?.type;
  return html`<div class="steps-box">
    <p class="now">${sentence(r, now)}</p>
    <ol class=${'steps' + (dense ? ' dense' : '')}>
      ${gate('confirm-rollout') && html`<${Gate} gate=${gate('confirm-rollout')} closed=${closed} />`}
      ${steps.map((s) => html`<${Step} key=${s.index} step=${s} dense=${dense} r=${r} now=${now} count=${steps.length} guarded=${gate('confirm-traffic-increase')} closed=${closed} />`)}
      ${gate('confirm-promotion') && html`<${Gate} gate=${gate('confirm-promotion')} closed=${closed} />`}
      <li class=${'step end ' + promotion(r)}><span class="column"><span class="fill" style=${{ height: '100%' }}></span></span><span class="weight">Promotion</span>
        <span class="visually-hidden">${promotion(r) === 'now' ? 'under way' : ''}</span></li>
    </ol>
    ${r.step?.due && html`<${Left} r=${r} now=${now} />`}
  </div>`;
}

// stepsOf are the steps with what has become of each.
function stepsOf(r, plan) {
  const count = plan.steps || 0;
  const at = r.step ? r.step.index : r.phase === 'Promoting' || r.phase === 'Finalising' ? count + 1 : 0;
  const rounds = r.rounds || [];
  const lastRound = rounds[rounds.length - 1];
  const failedAt = r.state === 'RolledBack' && lastRound ? lastRound.step : 0;
  const all = [];
  for (let index = 1; index <= count; index++) {
    let is = 'next';
    if (failedAt) is = index < failedAt ? 'done' : index === failedAt ? 'failed' : 'next';
    else if (r.state === 'AtRest' || at === 0) is = 'next';
    else if (index < at) is = 'done';
    else if (index === at) is = 'now';
    all.push({ index, is, weight: plan.weights ? plan.weights[index - 1] : undefined, rounds: rounds.filter((x) => x.step === index) });
  }
  return all;
}

function promotion(r) {
  return r.state === 'Promoting' || r.state === 'Halted' ? 'now' : 'next';
}

function sentence(r, now) {
  if (!r.step) return r.state === 'AtRest' ? 'No release is under way. The next one goes through these steps.' : r.message;
  if (r.step.index === 0) return 'The canary becomes ready.';
  const left = r.step.due ? secondsOf(r.step.due) - now / 1000 : 0;
  const due = r.step.due ? (left > 0 ? ` Its checks are run in ${span(left)}.` : ' Its checks are due.') : '';
  return `${r.step.description[0].toUpperCase()}${r.step.description.slice(1)}.${due}`;
}

function Step({ step: s, dense, r, now, count, guarded, closed }) {
  const height = s.weight === undefined ? 100 * s.index / count : s.weight;
  const paused = s.is === 'now' && r.state === 'Paused';
  const labelled = !dense || s.is === 'now' || s.is === 'failed' || s.index === 1 || s.index === count;
  const name = s.weight === undefined ? String(s.index) : s.weight + '%';
  return html`<li class=${'step ' + s.is + (paused ? ' paused' : '')} aria-current=${s.is === 'now' ? 'step' : undefined}>
    ${guarded && !dense && html`<span class=${'lock' + (closed === guarded.type && s.is === 'now' ? ' closed' : '')} title=${'Gate before the next step: ' + guarded.hooks.join(', ')}>
      <svg viewBox="0 0 16 16" aria-hidden="true"><path d=${lock} fill-rule="evenodd" /></svg></span>`}
    <span class="column"><span class="fill" style=${{ height: Math.max(height, 3) + '%' }}></span></span>
    <span class="weight">${labelled ? name : ''}</span>
    <span class="rounds" aria-hidden="true">${s.rounds.slice(-6).map((x) => html`<i class=${x.verdict} title=${x.verdict + (x.message ? ': ' + x.message : '')}></i>`)}</span>
    <span class="visually-hidden">step ${s.index}, ${said[s.is]}${paused ? ', paused' : ''}${s.rounds.length ? `, ${s.rounds.length} rounds of checks, the last one ${s.rounds[s.rounds.length - 1].verdict}` : ''}</span>
  </li>`;
}

const said = { done: 'done', now: 'under way', next: 'to come', failed: 'failed' };

function Gate({ gate, closed }) {
  const isClosed = closed === gate.type;
  return html`<li class=${'gate' + (isClosed ? ' closed' : '')} title=${gate.type + ': ' + gate.hooks.join(', ')}>
    <svg viewBox="0 0 16 16" aria-hidden="true"><path d=${lock} fill-rule="evenodd" /></svg>
    <span class="weight">gate</span><span class="visually-hidden">${gate.type}${isClosed ? ', closed' : ''}</span></li>`;
}

// Left is the time until the next round of checks.
function Left({ r, now }) {
  const due = secondsOf(r.step.due), since = secondsOf(r.step.since);
  const part = Math.min(1, Math.max(0, (now / 1000 - since) / Math.max(1, due - since)));
  return html`<div class="left" role="progressbar" aria-label="Time until the next checks" aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(part * 100)}>
    <span style=${{ width: part * 100 + '%' }}></span></div>`;
}
