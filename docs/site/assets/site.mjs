// Search, colours, the menu on a phone, and buttons that copy a command. The pages can be read without any of it.
const root = new URL('.', import.meta.url); // of the site, whatever path it is served below
const $ = (selector, within = document) => within.querySelector(selector);

function colours() {
  const select = $('.theme select');
  select.value = document.documentElement.dataset.theme ?? '';
  select.addEventListener('change', () => {
    if (select.value) document.documentElement.dataset.theme = select.value;
    else delete document.documentElement.dataset.theme;
    try {
      localStorage.setItem('sluice-theme', select.value);
    } catch {
      // It holds until the page is left.
    }
  });
}

function menu() {
  const button = $('.menu-button');
  const show = (open) => {
    document.body.classList.toggle('menu-open', open);
    button.setAttribute('aria-expanded', String(open));
  };
  button.addEventListener('click', () => show(!document.body.classList.contains('menu-open')));
  addEventListener('keydown', (e) => {
    if (e.key === 'Escape' && document.body.classList.contains('menu-open')) {
      show(false);
      button.focus();
    }
  });
  const here = $('#nav [aria-current]');
  if (here) here.scrollIntoView({ block: 'nearest' });
  scrollTo(scrollX, location.hash ? scrollY : 0);
}

// copies puts a button on each block that can be typed or saved: of a session only the commands are copied.
function copies() {
  for (const block of document.querySelectorAll('.code')) {
    const language = block.dataset.language ?? '';
    if (language === 'text') continue;
    const button = document.createElement('button');
    button.type = 'button';
    button.className = 'copy';
    button.textContent = 'Copy';
    button.addEventListener('click', async () => {
      let text = $('code', block).textContent;
      if (language === 'console') {
        text = text.split('\n').filter((line) => line.startsWith('$ ')).map((line) => line.slice(2)).join('\n') + '\n';
      }
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = 'Copied';
      } catch {
        button.textContent = 'Not allowed';
      }
      setTimeout(() => { button.textContent = 'Copy'; }, 1500);
    });
    block.append(button);
  }
}

// place marks where in the page one is, in the list of its sections.
function place() {
  const links = new Map([...document.querySelectorAll('.contents a')].map((a) => [decodeURIComponent(a.hash.slice(1)), a]));
  if (!links.size) return;
  const headings = [...document.querySelectorAll('article h2[id], article h3[id]')].filter((h) => links.has(h.id));
  const mark = () => {
    let now = headings[0];
    for (const h of headings) if (h.getBoundingClientRect().top < 120) now = h;
    for (const a of links.values()) a.removeAttribute('aria-current');
    links.get(now?.id)?.setAttribute('aria-current', 'true');
  };
  addEventListener('scroll', () => requestAnimationFrame(mark), { passive: true });
  mark();
}

// words are those of a text as one searches them: a name in camel case is found by its parts, too.
const words = (text) => text.split(/[^\p{L}\p{N}]+/u).flatMap((word) => {
  const parts = word.split(/(?<=[\p{Ll}\p{N}])(?=\p{Lu})/u);
  return parts.length > 1 ? [word, ...parts] : [word];
});

let ready;
async function load() {
  const [{ default: MiniSearch }, answer] = await Promise.all([import('./vendor/minisearch.mjs'), fetch(new URL('index.json', root))]);
  if (!answer.ok) throw new Error(`${answer.status} for the index`);
  const engine = new MiniSearch({
    fields: ['heading', 'page', 'text'],
    storeFields: ['url', 'page', 'heading', 'text'],
    tokenize: words,
    searchOptions: {
      boost: { heading: 6, page: 3 },
      prefix: (term) => term.length > 1,
      fuzzy: (term) => (term.length > 4 ? 0.2 : false),
      combineWith: 'AND',
      // Who looks for a reason mostly has a release that does not get on.
      boostDocument: (id, term, { url }) => (url.startsWith('troubleshooting.html#') ? 2.5 : 1),
    },
  });
  engine.addAll(await answer.json());
  return engine;
}

// part is where in a text the first of some terms is, with what stands about it, and the terms marked.
function part(text, terms) {
  const lower = text.toLowerCase();
  const at = Math.max(0, Math.min(...terms.map((t) => lower.indexOf(t)).filter((i) => i >= 0), text.length) - 50);
  const from = at < text.length - 60 ? text.indexOf(' ', at - 1) + 1 || at : 0;
  const piece = (from ? '… ' : '') + text.slice(from, from + 150) + (from + 150 < text.length ? ' …' : '');
  const out = document.createElement('span');
  const found = new RegExp(`(${terms.map((t) => t.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})`, 'giu');
  for (const [i, bit] of piece.split(found).entries()) {
    out.append(i % 2 ? Object.assign(document.createElement('mark'), { textContent: bit }) : bit);
  }
  return out;
}

function search() {
  const dialog = $('dialog.search');
  const input = $('input', dialog);
  const list = $('#results');
  const note = $('.note', dialog);
  let chosen = -1;

  const choose = (to) => {
    const all = [...list.children];
    chosen = all.length ? (to + all.length) % all.length : -1;
    for (const [i, a] of all.entries()) {
      a.setAttribute('aria-selected', String(i === chosen));
      if (i === chosen) a.scrollIntoView({ block: 'nearest' });
    }
    if (chosen >= 0) input.setAttribute('aria-activedescendant', all[chosen].id);
    else input.removeAttribute('aria-activedescendant');
  };

  const show = async () => {
    const query = input.value.trim();
    let engine;
    try {
      engine = await (ready ??= load());
    } catch (e) {
      ready = undefined;
      note.textContent = location.protocol === 'file:' ? 'The search needs a server: make docs SERVE=1.' : `The index can't be loaded: ${e.message}`;
      return;
    }
    if (query !== input.value.trim()) return; // typed on meanwhile
    let hits = query ? engine.search(query) : [];
    if (query && !hits.length) hits = engine.search(query, { combineWith: 'OR' });
    list.replaceChildren(...hits.slice(0, 12).map((hit, i) => {
      const a = document.createElement('a');
      a.href = new URL(hit.url, root);
      a.id = `result-${i}`;
      a.role = 'option';
      const head = document.createElement('strong');
      head.textContent = hit.heading;
      a.append(head);
      if (hit.page !== hit.heading) a.append(Object.assign(document.createElement('em'), { textContent: hit.page }));
      a.append(part(hit.text, hit.terms));
      a.addEventListener('click', () => dialog.close());
      return a;
    }));
    note.textContent = query && !hits.length ? 'Nothing was found.' : '';
    choose(0);
  };

  const open = () => {
    if (dialog.open) return;
    document.body.classList.remove('menu-open');
    dialog.showModal();
    input.select();
    show();
  };
  $('.search-button').addEventListener('click', open);
  input.addEventListener('input', show);
  input.addEventListener('keydown', (e) => {
    if (e.key === 'ArrowDown') choose(chosen + 1);
    else if (e.key === 'ArrowUp') choose(chosen - 1);
    else if (e.key === 'Enter') list.children[chosen]?.click();
    else return;
    e.preventDefault();
  });
  dialog.addEventListener('click', (e) => { if (e.target === dialog) dialog.close(); });
  addEventListener('keydown', (e) => {
    const typing = e.target.closest?.('input, select, textarea');
    if ((e.key === '/' && !typing && !e.ctrlKey && !e.metaKey) || (e.key === 'k' && (e.ctrlKey || e.metaKey))) {
      e.preventDefault();
      open();
    }
  });
}

colours();
menu();
copies();
place();
search();
