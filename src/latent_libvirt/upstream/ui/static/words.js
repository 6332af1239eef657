// SPDX-License-Identifier: GPL-2.0-only
// Words and numbers as people read them, and the clock of the master.

const UNITS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];

/** A duration as `latent-libvirt status` writes it: the two largest units. */
export const duration = (seconds) => {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  const first = UNITS.findIndex(([, size]) => whole >= size);
  const [[large, size], [small, part]] = UNITS.slice(first, first + 2);
  const rest = String(Math.floor((whole % size) / part)).padStart(2, "0");
  return `${Math.floor(whole / size)}${large} ${rest}${small}`;
};

/** Seconds of a phase. Those of a short one have a tenth. */
export const phaseDuration = (seconds) =>
  (seconds < 9.95 ? `${Number(seconds.toFixed(1))} s` : duration(seconds));

export const clock = { ahead: 0 }; // seconds that the master's clock is ahead of this machine's
export const now = () => Date.now() / 1000 + clock.ahead;
export const number = (value) => String(Number(value.toPrecision(4)));

/** Bytes as people read them. */
export const bytes = (count) => (count >= 2 ** 30
  ? `${Number((count / 2 ** 30).toPrecision(3))} GiB` : `${Number((count / 2 ** 20).toPrecision(3))} MiB`);

/** What people call a master: Buildbot's name for it is `HOST:DIRECTORY`. */
export const masterName = (name) => {
  const [, host, directory] = /^([^:]*):.*?([^/]+)\/*$/.exec(name) || [];
  return directory ? `${directory} on ${host}` : name;
};

/** A link into Buildbot's UI, behind whatever proxy that is. */
export const local = (url) => (url.includes("#/") ? url.slice(url.indexOf("#/")) : "");
