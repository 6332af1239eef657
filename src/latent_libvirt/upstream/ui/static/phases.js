// SPDX-License-Identifier: GPL-2.0-only
// Phases of VMs on a line: what they are called, which colour they have, how wide they are.
import { phaseDuration } from "./words.js";

const { createElement: h } = window.React;

const KINDS = [
  ["start", "starting", ["prepare", "clone", "boot", "resume", "save"]],
  ["attach", "attaching", ["assign", "attach"]],
  ["build", "building", ["build"]],
  ["idle", "waiting", ["waiting", "idle"]],
  ["held", "held", ["held"]],
  ["end", "tearing down", ["tear-down"]],
];
const kindOf = (phase) => (KINDS.find(([, , phases]) => phases.includes(phase)) || ["start"])[0];

const percent = (seconds, whole) => `${Math.max(0, (100 * seconds) / whole).toFixed(3)}%`;

/**
 * A part of a line that is `whole` seconds long.
 *
 * @param from  seconds from the start of the line.
 */
export const Part = ({ phase, from, seconds, whole, words = [] }) => h("span", {
  className: `ll-part ll-is-${kindOf(phase)}`,
  title: [phase, phaseDuration(seconds), ...words].filter(Boolean).join(", "),
  style: {
    left: percent(from, whole),
    width: percent(seconds + Math.min(from, 0), whole),
  },
});

export const Legend = () => h("p", { className: "ll-legend" }, KINDS.map(([kind, words]) =>
  h("span", { key: kind }, h("span", { className: `ll-swatch ll-is-${kind}` }), ` ${words} `)));
