// The address of a page is in the part after #, so that the server may be below any path: #/?q=cart&state=Paused for the
// fleet, #/releases/NAMESPACE/NAME for a release.
import { useEffect, useState } from 'preact/hooks';

export function parse(hash) {
  const [path, query] = hash.replace(/^#\/?/, '').split('?');
  const parts = path.split('/').map(decodeURIComponent);
  const params = new URLSearchParams(query || '');
  if (parts[0] === 'releases' && parts[1] && parts[2]) {
    return { page: 'release', namespace: parts[1], name: parts[2], params };
  }
  return { page: 'fleet', params };
}

export function toRelease(namespace, name) {
  return '#/releases/' + encodeURIComponent(namespace) + '/' + encodeURIComponent(name);
}

export function toFleet(params) {
  const text = params ? params.toString() : '';
  return '#/' + (text ? '?' + text : '');
}

// refine changes filters in place: going back leads to the page before, not to the letter before.
export function refine(params, changes) {
  const next = new URLSearchParams(params);
  for (const [name, value] of Object.entries(changes)) {
    if (value) next.set(name, value);
    else next.delete(name);
  }
  history.replaceState(history.state, '', toFleet(next));
  dispatchEvent(new HashChangeEvent('hashchange'));
}

export function useRoute() {
  const [hash, set] = useState(location.hash);
  useEffect(() => {
    const changed = () => set(location.hash);
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return parse(hash);
}
