// SPDX-License-Identifier: GPL-2.0-only
// What may need a person, at the top of the page: counts that lead to the tables.
import { Age } from "./ui/elements.js";
import { masterName } from "./ui/words.js";

const { createElement: h, memo } = window.React;

/** Tables, how their rows are called that may need somebody, and which those are. */
const KINDS = [
  ["Hosts", "host is not usable", "hosts are not usable",
    ({ hosts }) => Object.values(hosts).filter((host) => !host.usable)],
  ["Held VMs", "VM is held", "VMs are held", ({ held }) => Object.values(held)],
  ["Frozen VMs", "VM is frozen", "VMs are frozen", ({ frozen }) => Object.values(frozen)],
  ["Last failures", "VM has failed", "VMs have failed", ({ failures }) => Object.values(failures).filter((row) => !row.is_ended_by_operator)],
];

/** Go to a table of a pool; to the pool if a search leaves that table out. */
const goTo = (pool, caption) => {
  const section = [...document.querySelectorAll(".ll-pool")]
    .find((each) => each.dataset.pool === pool);
  const tables = [...section.querySelectorAll("table")];
  const place = tables.find((table) => table.caption.textContent === caption) || section;
  place.tabIndex = -1;
  place.focus({ preventScroll: true });
  place.scrollIntoView();
};

const Need = ({ pool, caption, words, newest }) => h("li", null,
  h("button", { type: "button", onClick: () => goTo(pool, caption) }, words),
  newest > 0 && h("span", null, ", the last ", h(Age, { since: newest }), " ago"));

const needsOf = (sections) => KINDS.map(([caption, one, more, rowsOf]) => {
  const rows = rowsOf(sections);
  return {
    caption,
    count: rows.length,
    words: `${rows.length} ${rows.length === 1 ? one : more}`,
    newest: Math.max(0, ...rows.map((row) => row.when || 0)),
  };
}).filter(({ count }) => count > 0);

const OfPool = memo(({ id, pool, isNamed }) => {
  const needs = needsOf(pool.sections);
  return needs.length > 0 && h("ul", null,
    isNamed && h("li", null, `Pool ${pool.name} of ${masterName(pool.master)}`),
    needs.map(({ caption, words, newest }) =>
      h(Need, { key: caption, pool: id, caption, words, newest })));
});

/** Counts of all pools, each pool on a line. */
export const Needs = memo(({ pools }) => {
  const some = pools.filter(([, { sections }]) => needsOf(sections).length > 0);
  return some.length > 0 && h("nav", { className: "ll-needs", "aria-label": "May need a person" },
    some.map(([id, pool]) => h(OfPool, { key: id, id, pool, isNamed: pools.length > 1 })));
});
