// What a person may do with a release: only buttons that the operator would not refuse and that the API server allows.
import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from './html.js';
import { label, meaning } from './format.js';
import { post, releasePath } from './api.js';

const dangerous = new Set(['Abort', 'Promote', 'Rollback']);
const needReason = new Set(['Abort', 'Rollback']);

export function Actions({ detail, onDone }) {
  const { release: r, may } = detail;
  const [asked, ask] = useState(null);
  const [result, setResult] = useState(null);
  if (!may.actions?.length) return may.why ? html`<p class="note may">${may.why}</p>` : null;
  const done = (what) => {
    ask(null);
    setResult(what);
    onDone();
  };
  return html`<div class="actions" role="group" aria-label="Actions">
    ${may.actions.map((a) => html`<button type="button" key=${a} title=${meaning(a)} data-action=${a}
      class=${'button' + (dangerous.has(a) ? ' danger' : '')} onClick=${() => { setResult(null); ask(a); }}>${label(a)}</button>`)}
    <p class=${'result ' + (result?.failed ? 'bad' : '')} role="status">${result?.text || ''}</p>
    ${asked && html`<${Dialog} action=${asked} release=${r} onClose=${() => ask(null)} onDone=${done} />`}
  </div>`;
}

// Dialog asks for a reason and sends an action; one that goes back names the revision to.
export function Dialog({ action, release: r, to, onClose, onDone }) {
  const dialog = useRef();
  const reason = useRef();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState('');
  useEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    reason.current.focus();
    return () => before?.focus?.();
  }, []);
  const send = async (e) => {
    e.preventDefault();
    const why = reason.current.value.trim();
    if (needReason.has(action) && !why) {
      setError('Say why, for those who read the events after it.');
      reason.current.focus();
      return;
    }
    setBusy(true);
    try {
      const answer = await post(releasePath(r.namespace, r.name) + '/actions', { action, reason: why, revision: r.revision, toRevision: to });
      onDone({ text: answer.message });
    } catch (err) {
      setError(err.message);
      setBusy(false);
    }
  };
  return html`<dialog ref=${dialog} aria-labelledby="ask" onClose=${onClose} onCancel=${onClose}>
    <form onSubmit=${send}>
      <h2 id="ask">${label(action)} ${r.namespace}/${r.name}?</h2>
      <p>${meaning(action)}</p>
      ${to && html`<p>The primary gets <code>${to}</code> again, without an analysis.</p>`}
      <p class="note">It is for revision <code>${r.revision}</code>, and is refused where another one has begun meanwhile.</p>
      <label>Reason${needReason.has(action) ? '' : ' (optional)'}
        <input ref=${reason} maxlength="300" autocomplete="off" aria-invalid=${error ? 'true' : undefined} aria-describedby=${error ? 'ask-error' : undefined} /></label>
      <p class="error" id="ask-error" role="alert">${error}</p>
      <menu>
        <button type="button" class="button" onClick=${onClose}>Cancel</button>
        <button type="submit" class=${'button primary' + (dangerous.has(action) ? ' danger' : '')} disabled=${busy}>${label(action)}</button>
      </menu>
    </form>
  </dialog>`;
}
