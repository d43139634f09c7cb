// Light, dark, or as the system has it.
import { useState } from 'preact/hooks';
import { html } from './html.js';

const key = 'sluice-theme';
const choices = { '': 'Auto', light: 'Light', dark: 'Dark' };

function stored() {
  try {
    const is = localStorage.getItem(key) || '';
    return is in choices ? is : '';
  } catch {
    return ''; // a browser that keeps nothing
  }
}

export function applyTheme(to = stored()) {
  if (to) document.documentElement.dataset.theme = to;
  else delete document.documentElement.dataset.theme;
  dispatchEvent(new Event('sluice-theme'));
}

export function Theme() {
  const [theme, set] = useState(stored());
  const choose = (e) => {
    const to = e.currentTarget.value;
    try {
      localStorage.setItem(key, to);
    } catch {
      // It holds until the page is left.
    }
    set(to);
    applyTheme(to);
  };
  return html`<label class="theme"><span class="visually-hidden">Colours</span><select onChange=${choose}>
    ${Object.entries(choices).map(([value, text]) => html`<option value=${value} selected=${theme === value}>${text}</option>`)}</select></label>`;
}
