// The page: who looks, where they are, and what is around the part that changes.
import { useEffect, useRef, useState } from 'preact/hooks';
import { html, render } from './html.js';
import { get } from './api.js';
import { Store } from './store.js';
import { toFleet, useRoute } from './route.js';
import { useStore } from './parts.js';
import { FleetPage } from './fleet.js';
import { ReleasePage } from './release.js';
import { Login, Logout } from './login.js';
import { Theme, applyTheme } from './theme.js';

const store = new Store();

function App() {
  const [session, setSession] = useState(null);
  const [error, setError] = useState(null);
  const load = async () => {
    try {
      const is = await get('session');
      setSession(is);
      setError(null);
      if (is.seesReleases) store.restart();
      else store.stop();
    } catch (err) {
      setError(err);
    }
  };
  useEffect(() => {
    store.listenToVisibility();
    load();
  }, []);
  if (error && !session) {
    return html`<main class="loading"><p role="alert">${error.message}</p><button type="button" class="button" onClick=${load}>Try again</button></main>`;
  }
  if (!session) return html`<p class="loading" role="status">Loading the releases</p>`;
  return html`<${Frame} session=${session} reload=${load} />`;
}

function Frame({ session, reload }) {
  const route = useRoute();
  const back = useRef(toFleet());
  if (route.page === 'fleet') back.current = toFleet(route.params);
  useStore(store);
  const waiting = session.states.filter((s) => s.needsPerson).map((s) => s.name);
  const count = [...store.rows.values()].filter((r) => waiting.includes(r.state)).length;
  const where = route.page === 'release' ? `${route.namespace}/${route.name} · ` : '';
  useEffect(() => { document.title = `${count > 0 ? `(${count}) ` : ''}${where}Sluice`; }, [count, where]);
  useFocus(route);
  if (!session.seesReleases) return html`<${Login} session=${session} onDone=${reload} />`;
  return html`<a class="skip" href="#title" onClick=${(e) => { e.preventDefault(); document.getElementById('title')?.focus(); }}>To the releases</a>
    <header class="top-bar">
      <a class="brand" href=${toFleet()}><img src="./icon.svg" alt="" width="28" height="28" /> Sluice${session.cluster && html`<span class="cluster">${session.cluster}</span>`}</a>
      <span class=${'live' + (store.connected ? '' : ' off')} role="status"><i aria-hidden="true"></i>${store.connected ? 'Live' : 'Not connected'}</span>
      <span class="grow"></span>
      <${Theme} />
      <${Logout} session=${session} onDone=${reload} />
    </header>
    <main>${route.page === 'release'
      ? html`<${ReleasePage} key=${route.namespace + '/' + route.name} store=${store} namespace=${route.namespace} name=${route.name} back=${back.current} />`
      : html`<${FleetPage} store=${store} session=${session} params=${route.params} />`}</main>
    <footer><span>Sluice ${session.version}</span><span>${session.mode}</span></footer>
    <div class="visually-hidden" aria-live="polite">${store.announcement}</div>`;
}

// useFocus puts the focus to the title of a page that was gone to, for those who don't see that it has changed.
function useFocus(route) {
  const page = route.page === 'release' ? `${route.namespace}/${route.name}` : '';
  const first = useRef(true);
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    scrollTo(0, 0);
    requestAnimationFrame(() => document.getElementById('title')?.focus({ preventScroll: true }));
  }, [page]);
}

applyTheme();
render(html`<${App} />`, document.getElementById('app'));
