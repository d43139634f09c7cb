// Who looks: a token of the cluster, where nobody else has said who it is.
import { useRef, useState } from 'preact/hooks';
import { html } from './html.js';
import { post } from './api.js';

export function Login({ session, onDone }) {
  const token = useRef();
  const [error, setError] = useState('');
  const [busy, setBusy] = useState(false);
  const send = async (e) => {
    e.preventDefault();
    setBusy(true);
    try {
      await post('login', { token: token.current.value.trim() });
      setError('');
      onDone();
    } catch (err) {
      setError(err.message);
      setBusy(false);
      token.current.focus();
    }
  };
  return html`<main class="login"><div class="card">
    <h1 id="title" tabindex="-1"><img src="./icon.svg" alt="" width="40" height="40" /> Sluice${session.cluster && html`<span class="cluster">${session.cluster}</span>`}</h1>
    ${session.login ? html`<form onSubmit=${send}>
      <p>Log in with a token of this cluster. You see and do what you have the rights for.</p>
      <label>Token<input ref=${token} type="password" autocomplete="off" spellcheck=${false} required autofocus aria-describedby="login-error" /></label>
      <p class="error" id="login-error" role="alert">${error}</p>
      <button type="submit" class="button primary" disabled=${busy}>Log in</button>
      <p class="note">Such as one of <code>kubectl create token NAME</code>, for a ServiceAccount with the role <code>view</code>.</p>
    </form>` : html`<p>${session.why}</p>`}
  </div></main>`;
}

export function Logout({ session, onDone }) {
  if (!session.user) return null;
  const leave = async () => {
    await post('logout', {});
    onDone();
  };
  return html`<span class="who" title="Who you are to the API server">${session.user}</span>
    ${session.canLogout && html`<button type="button" class="button small" onClick=${leave}>Log out</button>`}`;
}
