// The fleet as the server streams it: one stream for a browser tab, whatever it shows. A tab that nobody sees gives it up.

const hiddenAfter = 30_000;
const retryAfter = 2_000;

export class Store {
  constructor() {
    this.rows = new Map();
    this.version = 0;
    this.loaded = false;
    this.connected = false;
    this.error = null;
    this.announcement = '';
    this.listeners = new Set();
    this.pending = false;
    this.source = null;
    this.timer = 0;
    this.wanted = false;
  }

  // subscribe calls a function after changes, at most once for each frame that is drawn.
  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  row(namespace, name) {
    return this.rows.get(namespace + '/' + name);
  }

  listenToVisibility() {
    document.addEventListener('visibilitychange', () => {
      clearTimeout(this.timer);
      if (document.visibilityState === 'visible') this.reopen();
      else this.timer = setTimeout(() => this.close(), hiddenAfter);
    });
  }

  // reopen opens the stream where it was given up, and not where nobody is logged in.
  reopen() {
    if (this.wanted) this.open();
  }

  open() {
    if (this.source) return;
    this.wanted = true;
    const source = new EventSource('./api/stream');
    this.source = source;
    source.addEventListener('fleet', (e) => this.replace(JSON.parse(e.data)));
    source.addEventListener('row', (e) => this.put(JSON.parse(e.data)));
    source.addEventListener('gone', (e) => this.remove(JSON.parse(e.data)));
    source.addEventListener('failed', (e) => this.set({ error: JSON.parse(e.data) }));
    source.addEventListener('open', () => this.set({ connected: true }));
    source.addEventListener('error', () => this.lost());
  }

  close() {
    this.source?.close();
    this.source = null;
  }

  // stop gives the stream up for good, with what it brought.
  stop() {
    this.close();
    this.wanted = false;
    this.rows = new Map();
    this.set({ loaded: false, connected: false });
  }

  restart() {
    this.close();
    this.open();
  }

  // lost begins anew after a while. The browser would try again by itself, but not after every kind of answer.
  lost() {
    this.close();
    this.set({ connected: false });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (document.visibilityState === 'visible') this.reopen();
    }, retryAfter);
  }

  set(fields) {
    Object.assign(this, fields);
    this.changed();
  }

  replace(all) {
    this.rows = new Map(all.map((r) => [r.namespace + '/' + r.name, r]));
    this.loaded = true;
    this.error = null;
    this.changed();
  }

  put(row) {
    const key = row.namespace + '/' + row.name;
    const before = this.rows.get(key);
    this.rows.set(key, row);
    if (before && before.state !== row.state) this.announce(row);
    this.changed();
  }

  remove({ namespace, name }) {
    this.rows.delete(namespace + '/' + name);
    this.changed();
  }

  // announce says to those who can't see it what has become of a release.
  announce(row) {
    this.announcement = `${row.namespace}/${row.name}: ${row.state}. ${row.message || ''}`;
  }

  changed() {
    this.version++;
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      for (const listener of this.listeners) listener();
    });
  }
}

// order puts what needs attention most first, then goes by namespace and name.
export function order(states) {
  const rank = new Map(states.map((s, i) => [s.name, i]));
  return (a, b) =>
    (rank.get(a.state) ?? states.length) - (rank.get(b.state) ?? states.length)
    || compare(a.namespace, b.namespace) || compare(a.name, b.name);
}

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}
