// SPDX-License-Identifier: GPL-2.0-only
// The timeline: a line for each slot, with what its VMs did in the last hour.
import { ordered } from "./tables.js";
import { Legend, Part } from "./ui/phases.js";
import { now } from "./ui/words.js";

const { createElement: h, memo, useLayoutEffect, useMemo, useState } = window.React;

const HOUR = 3600;

/** The parts of a VM's life in the last hour: what, from when, for how long. */
const partsOf = (use, until) => {
  let from = use.began;
  const parts = use.phases.map(([phase, seconds]) => {
    const part = { phase, from, seconds };
    from += seconds;
    return part;
  });
  if (use.phase) {
    parts.push({ phase: use.phase, from: use.phase_since, seconds: until - use.phase_since });
  }
  return parts.filter((part) => part.from + part.seconds > until - HOUR);
};
/** The end of the line is now. */
const SlotPart = ({ part, use, until }) => h(Part, {
  phase: part.phase, from: part.from - until + HOUR, seconds: part.seconds, whole: HOUR,
  words: [use.label, use.job && `${use.job.builder} #${use.job.number}`],
});

const summary = (parts) => {
  const built = parts.filter((part) => part.phase === "build")
    .reduce((sum, part) => sum + part.seconds, 0);
  return `${Math.round((100 * Math.min(built, HOUR)) / HOUR)} % of the last hour building`;
};

const Slot = ({ host, slot, uses, until }) => {
  const all = uses.map((use) => [use, partsOf(use, until)]);
  const parts = all.flatMap(([, found]) => found);
  const current = uses.find((use) => use.phase);
  const state = current ? `now: ${current.phase}` : "now: free";
  return h("div", { className: "ll-slot" },
    h("span", { className: "ll-slot-name" }, `${host} ${slot}`),
    h("span", { className: "ll-slot-line", role: "img",
      "aria-label": `Slot ${slot} of host ${host}, ${state}, ${summary(parts)}` },
    all.map(([use, found]) => found.map((part, at) =>
      h(SlotPart, { key: `${use.vm_id} ${at}`, part, use, until })))));
};

export const Timeline = memo(({ hosts, uses }) => {
  const [isOpen, setOpen] = useState(false);
  const [until, setUntil] = useState(now());
  useLayoutEffect(() => { // else the lines end where they did when the page was opened
    if (!isOpen) return undefined;
    setUntil(now());
    const timer = setInterval(() => { if (!document.hidden) setUntil(now()); }, 5000);
    return () => clearInterval(timer);
  }, [isOpen, uses]);
  const bySlot = useMemo(() => {
    const found = {};
    for (const use of isOpen ? Object.values(uses) : []) {
      (found[`${use.host}/${use.slot}`] ||= []).push(use);
    }
    return found;
  }, [isOpen, uses]);
  const slots = (host) => Array.from({ length: host.slots }, (_, at) => at + 1);
  return h("details", {
    className: "ll-timeline", onToggle: (event) => setOpen(event.currentTarget.open),
  },
  h("summary", null, "Slots in the last hour"),
  isOpen && h(Legend),
  isOpen && ordered(hosts).flatMap((host) => slots(host).map((slot) => h(Slot, {
    key: `${host.name} ${slot}`, host: host.name, slot, until,
    uses: bySlot[`${host.name}/${slot}`] || [],
  }))));
});
