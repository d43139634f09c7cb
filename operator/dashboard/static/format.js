// Texts for people. Times come as RFC 3339 or as seconds since 1970.

const units = [
  [86400, 'd', 3600, 'h'],
  [3600, 'h', 60, 'm'],
  [60, 'm', 1, 's'],
];

// span writes seconds in at most two units, as the command line does.
export function span(seconds) {
  const all = Math.max(0, Math.floor(seconds));
  for (const [large, name, small, nameOfSmall] of units) {
    if (all < large) continue;
    const left = Math.floor((all % large) / small);
    return Math.floor(all / large) + name + (left > 0 ? left + nameOfSmall : '');
  }
  return all + 's';
}

// secondsOf reads a time.
export function secondsOf(time) {
  if (!time) return 0;
  return typeof time === 'number' ? time : Date.parse(time) / 1000;
}

// ago is how long ago a time is, or a dash.
export function ago(time, now) {
  const at = secondsOf(time);
  return at ? span(now / 1000 - at) : '–';
}

// clock is the time of day, with the date where it is another day.
export function clock(time, now) {
  const at = new Date(secondsOf(time) * 1000);
  const same = new Date(now).toDateString() === at.toDateString();
  return same ? at.toLocaleTimeString() : at.toLocaleString();
}

const words = {
  AtRest: 'At rest', AtGate: 'At a gate', RolledBack: 'Rolled back',
  NoData: 'No data',
};

// label is a state or a verdict in words.
export function label(name) {
  return words[name] || name;
}

const titles = {
  Pause: 'Hold the release at the step where it is. The weight stays what it is.',
  Resume: 'Go on with what was paused.',
  Promote: 'Promote the canary now, without the remaining steps and checks.',
  Abort: 'Roll the release back now: all traffic to the primary.',
  Retry: 'Analyse the revision that has failed once more, from the first step.',
  Approve: 'Open the gate that the release waits at, whatever its hooks answer.',
  Advance: 'End the present step now, as if its checks had passed.',
  Rollback: 'Give the primary the template of a revision that was promoted before.',
};

// meaning says what an action does.
export function meaning(action) {
  return titles[action] || '';
}

// limitsOf reads the limits of a check, such as ">= 1 and <= 5".
export function limitsOf(text) {
  const out = {};
  for (const part of (text || '').split(' and ')) {
    const [how, value] = part.trim().split(' ');
    const number = Number(value);
    if (!value || Number.isNaN(number)) continue;
    if (how.startsWith('>')) out.min = number;
    if (how.startsWith('<')) out.max = number;
  }
  return out;
}

// short is a revision as it fits beside other things.
export function short(revision) {
  return revision || '–';
}
