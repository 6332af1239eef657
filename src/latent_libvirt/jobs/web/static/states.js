// SPDX-License-Identifier: GPL-2.0-only
// States of jobs and attempts, and how long they have taken.
import { Age } from "./ui/elements.js";
import { duration } from "./ui/words.js";

const { createElement: h } = window.React;

/** Seconds since the epoch; nothing if it has not come to that. */
export const seconds = (time) => (time ? Date.parse(time) / 1000 : null);

/** A job's or an attempt's result, or state before it has one, in Buildbot's colours. */
export const State = ({ of }) => {
  const words = of.result || of.state;
  const colour = of.result ? of.result.toUpperCase() : "PENDING";
  return h("span", { className: `bb-badge-status results_${colour} ll-state` }, words);
};

/** How long something took, or takes so far. */
export const Took = ({ from, to }) => {
  if (from === null) return null;
  return to === null ? h("span", null, h(Age, { since: from }), " so far")
    : h("span", { className: "ll-age" }, duration(to - from));
};

/** A link that a step has, if a browser may follow it; a text otherwise. */
export const SafeLink = ({ url, name }) => {
  const isSafe = ["http:", "https:"].includes(protocolOf(url));
  return isSafe ? h("a", { href: url, rel: "noopener noreferrer" }, name)
    : h("span", null, `${name} (${url})`);
};

const protocolOf = (url) => {
  try {
    return new URL(url, document.baseURI).protocol;
  } catch {
    return "";
  }
};
