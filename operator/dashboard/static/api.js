// Requests to the server that this page came from. All addresses are relative, so that it works below any path.

// RequestError is an answer other than success.
export class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function request(path, options) {
  let answer;
  try {
    answer = await fetch('./api/' + path, { credentials: 'same-origin', ...options });
  } catch {
    throw new RequestError(0, 'The dashboard does not answer.');
  }
  const isJSON = (answer.headers.get('Content-Type') || '').startsWith('application/json');
  const body = isJSON ? await answer.json() : { error: (await answer.text()).trim() };
  if (!answer.ok) throw new RequestError(answer.status, body.error || answer.statusText);
  return body;
}

export function get(path) {
  return request(path, { headers: { Accept: 'application/json' } });
}

// post sends JSON. The header can't be sent by a page of another origin without leave, which nobody gets.
export function post(path, body) {
  return request(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'X-Sluice-Dashboard': '1' },
    body: JSON.stringify(body),
  });
}

// releasePath is where a release is read.
export function releasePath(namespace, name) {
  return 'releases/' + encodeURIComponent(namespace) + '/' + encodeURIComponent(name);
}
