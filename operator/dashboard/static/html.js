// What every part of the page needs of Preact: one place that binds htm to it.
import { h, render, Fragment } from 'preact';
import htm from 'htm';

export const html = htm.bind(h);
export { render, Fragment };
