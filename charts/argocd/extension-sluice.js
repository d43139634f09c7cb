// A tab of Canaries in Argo CD's resource view: who serves, the steps, the checks, gates and people. See docs/gitops.md.
//
// Argo CD loads it from /tmp/extensions of argocd-server, gives it React as a global, and the Canary as it is in the cluster whenever that
// changes. It shows what the status says and has no rule of its own; it sends no request.
((window) => {
  const h = window.React.createElement;
  const colours = { primary: '#3b73d6', canary: '#e39b00', bad: '#d1453b', good: '#2a9d5c', wait: '#c07a10', calm: '#7d8896' };
  const line = '1px solid rgba(125, 136, 150, .35)';

  const card = (title, ...content) => h('section', { key: title, style: { border: line, borderRadius: '8px', padding: '10px 14px', margin: '0 0 12px' } },
    h('h4', { style: { margin: '0 0 8px', fontSize: '14px', fontWeight: 600 } }, title), ...content);
  const note = (text, key) => h('p', { key, style: { margin: '2px 0', opacity: .8, overflowWrap: 'anywhere' } }, text);
  const tag = (text, colour) => h('strong', { style: { color: colour, border: `1px solid ${colour}`, borderRadius: '999px', padding: '1px 9px', fontSize: '12px', whiteSpace: 'nowrap' } }, text);

  const condition = (st, type) => (st.conditions || []).find((c) => c.type === type);

  // head is the phase with the sentence that goes with it: what is wrong first, then what is under way.
  function head(st) {
    const stalled = condition(st, 'Stalled');
    const wrong = stalled && stalled.status === 'True';
    const says = wrong ? stalled : condition(st, 'Ready') || condition(st, 'Promoted') || {};
    const colour = wrong || st.phase === 'Failed' ? colours.bad : st.paused || st.gate ? colours.wait : says.status === 'True' ? colours.good : colours.primary;
    return card('Release', h('p', { style: { margin: 0 } }, tag(st.phase, colour), st.paused && h('span', null, ' ', tag('Paused', colours.wait)), ' ', says.message || ''),
      st.gate && note(`It waits at the gate ${st.gate.type}${st.gate.hook ? `, hook ${st.gate.hook}` : ''}. ${st.gate.message || ''}`));
  }

  // traffic is as wide as what the mesh is asked for.
  function traffic(st) {
    const canary = st.canaryWeight || 0;
    const matched = st.traffic && st.traffic.matched, mirror = (st.traffic && st.traffic.mirror) || 0;
    const text = `Primary ${100 - canary}%, canary ${canary}%${matched ? ' of the requests that match' : ''}${mirror > 0 ? `, and copies of ${mirror}%` : ''}`;
    const part = (share, colour) => h('span', { style: { display: 'block', width: `${share}%`, background: colour } });
    return card('Traffic', h('div', { role: 'img', 'aria-label': text, style: { display: 'flex', height: '16px', borderRadius: '8px', overflow: 'hidden', background: 'rgba(125, 136, 150, .25)' } },
      part(100 - canary, colours.primary), part(canary, colours.canary)), note(text + '.'));
  }

  // plan is the weights of all steps, with the present one marked.
  function plan(spec, st) {
    const a = spec.analysis || spec.canaryAnalysis || {};
    let weights = a.stepWeights || [];
    if (weights.length === 0 && a.stepWeight > 0 && !a.iterations) {
      const most = a.maxWeight || 100;
      weights = Array.from({ length: Math.min(Math.ceil(most / a.stepWeight), 100) }, (_, i) => Math.min((i + 1) * a.stepWeight, most));
    }
    const at = (st.step && st.step.index) || 0;
    const step = (w, i) => h('li', {
      key: i, 'aria-current': i + 1 === at ? 'step' : undefined,
      style: { border: i + 1 === at ? `2px solid ${colours.canary}` : line, fontWeight: i + 1 === at ? 700 : 400, opacity: i + 1 > at ? .6 : 1, borderRadius: '6px', padding: '2px 8px' },
    }, `${w}%`);
    return card('Steps',
      weights.length > 0 && h('ol', { style: { display: 'flex', flexWrap: 'wrap', gap: '6px', listStyle: 'none', margin: 0, padding: 0 } }, weights.map(step)),
      a.iterations > 0 && note(`${at} of ${a.iterations} iterations`),
      note(`${st.failedChecks || 0} failed rounds of checks, of which ${a.threshold || 1} end it`));
  }

  function checks(st) {
    const verdict = (c) => (c.verdict === 'Passed' ? colours.good : c.verdict === 'Failed' && !c.dryRun ? colours.bad : colours.calm);
    const cell = { padding: '4px 10px 4px 0', verticalAlign: 'top', textAlign: 'left' };
    return card('Checks', (st.checks || []).length === 0 ? note('None was run yet.') : h('table', { style: { borderCollapse: 'collapse', width: '100%' } },
      h('thead', null, h('tr', null, ['Name', 'Value', 'Limit', 'Verdict'].map((t) => h('th', { key: t, scope: 'col', style: { ...cell, fontWeight: 600 } }, t)))),
      h('tbody', null, st.checks.map((c) => h('tr', { key: c.name },
        h('td', { style: cell }, c.name, c.message && c.verdict !== 'Passed' && note(c.message)), h('td', { style: cell }, c.value || '–'), h('td', { style: cell }, c.range || '–'),
        h('td', { style: cell }, tag(c.verdict + (c.dryRun ? ', reported' : ''), verdict(c))))))));
  }

  function people(st) {
    const last = st.lastAction;
    return last && card('Last action', note(`${last.action}${last.by ? ` by ${last.by}` : ''}: ${last.message || ''}`));
  }

  function Canary({ resource }) {
    const { metadata, spec, status } = resource || {};
    if (!metadata || !spec) return h('p', null, 'There is no such Canary.');
    if (!status || !status.phase) return h('p', null, 'The operator has not looked at it yet.');
    return h('div', { className: 'sluice', style: { fontSize: '13px', lineHeight: 1.45, padding: '12px' } },
      head(status), traffic(status), plan(spec, status), checks(status), people(status),
      note(`Revision ${status.lastAppliedSpec || '–'}, promoted ${status.lastPromotedSpec || '–'}`));
  }

  window.extensionsAPI.registerResourceExtension(Canary, 'flagger.app', 'Canary', 'Release', { icon: 'fa-random' });
})(window);
